"""The clients of the cluster test, as it sees them: processes that say what they do."""

import os
import sys

from application import DATABASES
from nodes import Application

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "application.py")


class Client(Application):
    """An application whose committed numbers are kept."""

    def __init__(self, *words):
        self.numbers = {name: set() for name in DATABASES}
        super().__init__([sys.executable, PROGRAM, *words])

    def committed(self, rest):
        name, number = rest.split()
        self.numbers[name].add(int(number))

    def total(self):
        """How many of its numbers it was told are committed."""
        return sum(map(len, self.numbers.values()))


class RegisterClient(Application):
    """A client of single rows, with all that it did."""

    def __init__(self, *words):
        self.operations = []
        super().__init__([sys.executable, PROGRAM, "register", *words])

    def operation(self, what):
        self.operations.append(what)

    def writes(self, name):
        """How many it was told are committed, and how many may be."""
        with self.lock:
            all_writes = [op for op in self.operations if op["write"] and op["register"].startswith(name)]
        return sum(op["end"] is not None for op in all_writes), len(all_writes)

"""Clients before balancers: one that writes and one that reads for each, and when what they asked for was done."""

import http.client
import json
import threading
import time

from nodes import Problem
from watch import until

# Between the end of a request and the next.
PAUSE = 0.1
WRITE_SECONDS = 3
# A read that takes longer has failed.
READ_SECONDS = 3


class Client(threading.Thread):
    """Asks again and again. What it has done is in `done`: begin, end and status of each, or what was wrong."""

    def __init__(self, name, address, token, seconds):
        super().__init__(daemon=True)
        self.name, self.address, self.token, self.seconds = name, address, token, seconds
        self.done = []
        self.ends = threading.Event()

    def run(self):
        number = 0
        while not self.ends.wait(PAUSE):
            number += 1
            began = time.monotonic()
            try:
                result = self.once(number)
            except (OSError, http.client.HTTPException) as error:
                result = f"{type(error).__name__}: {error}"
            self.done.append((began, time.monotonic(), result))

    def request(self, method, path, body=None):
        connection = http.client.HTTPConnection(self.address, timeout=self.seconds)
        try:
            headers = {"X-NebulaGC-Node-Token": self.token, "Content-Type": "application/json"}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            connection.close()

    def stop(self):
        self.ends.set()
        self.join(2 * self.seconds)

    def successes(self):
        return [(began, ended) for began, ended, result in list(self.done) if result in (200, 201)]

    def await_success(self, since, seconds):
        """What began after a fault succeeds."""
        until(lambda: f"{self.name} succeeds again (last: {[result for _, _, result in self.done[-3:]]})",
              lambda: any(began > since for began, _ in self.successes()[-20:]), seconds)

    def gap(self, since):
        """The longest time without a success, from a fault on."""
        ends = [ended for _, ended in self.successes()]
        times = [end for end in ends if end <= since][-1:] + [end for end in ends if end > since]
        return max((after - before for before, after in zip(times, times[1:])), default=float("inf"))

    def failures(self, since):
        """What began, in seconds from a time on, when it ended, and what was wrong."""
        return [(round(began - since, 1), round(ended - since, 1), result)
                for began, ended, result in list(self.done) if ended > since and result not in (200, 201)]


class Writer(Client):
    def __init__(self, name, address, token):
        super().__init__(name, address, token, WRITE_SECONDS)
        # Names of what may be there, and of what is sure to be.
        self.sent, self.confirmed = [], []

    def once(self, number):
        # Never one name twice: whoever was not told does not know whether it is there.
        name = f"{self.name}-{number}"
        self.sent.append(name)
        status = self.request("POST", "/api/v1/nodes", json.dumps({"name": name}))
        if status == 201:
            self.confirmed.append(name)
        return status


class Reader(Client):
    def __init__(self, name, address, token):
        super().__init__(name, address, token, READ_SECONDS)

    def once(self, number):
        return self.request("GET", "/api/v1/nodes?page_size=1")


class Traffic:
    def __init__(self, balancers, token):
        """Balancers by name, each with its address."""
        self.writers = {name: Writer(f"writes-{name}", address, token) for name, address in balancers.items()}
        self.readers = {name: Reader(f"reads-{name}", address, token) for name, address in balancers.items()}
        self.all = [*self.writers.values(), *self.readers.values()]

    def start(self):
        for client in self.all:
            client.start()

    def stop(self):
        for client in self.all:
            client.ends.set()
        for client in self.all:
            client.stop()

    def confirmed(self):
        return [name for writer in self.writers.values() for name in list(writer.confirmed)]

    def check_rows(self, node, rows, confirmed):
        """Every confirmed row is there, and none twice; nil as long as one is missing."""
        names = set(rows)
        if len(names) < len(rows):
            twice = sorted(name for name in names if rows.count(name) > 1)
            raise Problem(f"{node} has rows twice: {twice[:10]}")
        sent = {name for writer in self.writers.values() for name in list(writer.sent)} | {"admin"}
        if names - sent:
            raise Problem(f"{node} has rows that nobody wrote: {sorted(names - sent)[:10]}")
        return names.issuperset(confirmed)

"""The clients of the cluster test: each a process of its own.

    application.py writer DIRECTORY PAUSE-FILE
    application.py reader DIRECTORY SYNC
    application.py register DIRECTORY PAUSE-FILE CLIENT

A writer inserts numbers that are used once, and moves money between accounts in the same transaction, into
each database in turn, wherever its node lets it; it says each number that SQLite reported as committed. A reader looks
at all of it in one snapshot. Whatever is wrong with what a database shows is said as `violation REASON`. A client of registers
reads and writes single rows, each value once, and adds to a tally with each write; it says what it did and when, as
`operation JSON`.
"""

import json
import os
import random
import sqlite3
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../shared"))
from mounted import is_on_mount

DATABASES = {"wal.db": "wal", "delete.db": "delete"}
ACCOUNTS, BALANCE = 10, 100
REGISTERS, CLIENTS = 4, 3
# What SQLite says where a node is not the primary, is about to become or to cease to be it, is gone, or has a full disk.
EXPECTED = (
    "database is locked", "attempt to write a readonly database", "access permission denied", "disk I/O error",
    "unable to open database file", "database or disk is full", "is not on the mount", "no such table",
    # What SQLite makes of locks of a write-ahead log whose mount is gone, after ten seconds.
    "locking protocol",
)


def say(*words):
    print(*words, flush=True)


def check(error, doing):
    if not any(text in str(error) for text in EXPECTED):
        say("violation", f"{doing}: {error}")


def connect(path, flags):
    connection = sqlite3.connect(f"file:{path}?mode={flags}", uri=True, timeout=0.5, isolation_level=None)
    connection.execute("PRAGMA schema_version").fetchone()
    if not is_on_mount(path):
        connection.close()
        raise OSError(f"{path} is not on the mount")
    return connection


def make(directory):
    """The databases, on the primary."""
    for name, mode in DATABASES.items():
        connection = connect(f"{directory}/{name}", "rwc")
        connection.execute(f"PRAGMA journal_mode={mode}").fetchone()
        connection.executescript(f"""
            BEGIN;
            CREATE TABLE t(n INTEGER PRIMARY KEY);
            CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER);
            WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < {ACCOUNTS})
            INSERT INTO account SELECT i, {BALANCE} FROM c;
            CREATE TABLE register(id INTEGER PRIMARY KEY, value INTEGER);
            INSERT INTO register SELECT id, 0 FROM account LIMIT {REGISTERS};
            CREATE TABLE tally(id INTEGER PRIMARY KEY, n INTEGER);
            INSERT INTO tally SELECT id, 0 FROM account LIMIT {CLIENTS};
            COMMIT""")
        connection.close()


class Connections:
    """One connection for each database, for as long as it works."""

    def __init__(self, directory, flags):
        self.directory, self.flags, self.open = directory, flags, {}

    def get(self, name):
        # A node that ends with its mount in use leaves dead files to whoever has them open.
        if name in self.open and not self.is_live(name):
            self.drop(name)
        if name not in self.open:
            self.open[name] = connect(f"{self.directory}/{name}", self.flags)
        return self.open[name]

    def is_live(self, name):
        return is_on_mount(f"{self.directory}/{name}")

    def drop(self, name):
        connection = self.open.pop(name, None)
        if connection:
            connection.close()


def wait_while(pause):
    if os.path.exists(pause):
        say("paused")
        while os.path.exists(pause):
            time.sleep(0.05)
        say("resumed")


def write(directory, pause):
    connections = Connections(directory, "rw")
    # Numbers are used once, also by whoever comes after this process.
    number = time.time_ns()
    failures = 0
    while True:
        wait_while(pause)
        name = random.choice(list(DATABASES))
        number += 1
        source, target = random.sample(range(1, ACCOUNTS + 1), 2)
        connection = None
        try:
            connection = connections.get(name)
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO t VALUES (?)", (number,))
            connection.execute("UPDATE account SET balance = balance - 7 WHERE id = ?", (source,))
            connection.execute("UPDATE account SET balance = balance + 7 WHERE id = ?", (target,))
            connection.execute("COMMIT")
            say("committed", name, number)
            failures = 0
        except (sqlite3.Error, OSError) as error:
            check(error, f"write to {name}")
            failures += 1
            say("failed")
            try:
                if connection and connection.in_transaction:
                    connection.execute("ROLLBACK")
            except sqlite3.Error:
                connections.drop(name)
            # An application that keeps its connection is to be served by it; one whose node is gone opens anew.
            if failures % 50 == 0 or not connections.is_live(name):
                connections.drop(name)
            time.sleep(0.01)


def read(directory, sync):
    connections = Connections(directory, "ro")
    most = dict.fromkeys(DATABASES, 0)
    while True:
        for name in DATABASES:
            try:
                connection = connections.get(name)
                connection.execute("BEGIN")
                (count,) = connection.execute("SELECT count(*) FROM t").fetchone()
                (money,) = connection.execute("SELECT sum(balance) FROM account").fetchone()
                connection.execute("ROLLBACK")
                # What a node that is gone has left open says nothing.
                if not connections.is_live(name):
                    connections.drop(name)
                    continue
                if money != ACCOUNTS * BALANCE:
                    say("violation", f"{name} has {money} in its accounts")
                # With asynchronous commits an old primary's own tail is cut when it follows another.
                if count < most[name] and sync == "quorum":
                    say("violation", f"{name} had {most[name]} rows, and then {count}")
                most[name] = max(most[name], count)
                say("read")
            except (sqlite3.Error, OSError) as error:
                check(error, f"read of {name}")
                connections.drop(name)
                time.sleep(0.02)
        time.sleep(0.005)


def use_registers(directory, pause, client):
    connections = Connections(directory, "rw")
    value = 0
    while True:
        wait_while(pause)
        name = random.choice(list(DATABASES))
        register = random.randint(1, REGISTERS)
        writes = random.random() < 0.3
        # Time as all processes of the machine have it.
        begin = time.monotonic_ns()
        # Until a transaction was begun nothing can have happened.
        has_begun = False
        known = True
        try:
            connection = connections.get(name)
            if writes:
                value += 1
                connection.execute("BEGIN IMMEDIATE")
                has_begun = True
                number = value * CLIENTS + int(client)
                connection.execute("UPDATE register SET value = ? WHERE id = ?", (number, register))
                connection.execute("UPDATE tally SET n = n + 1 WHERE id = ?", (int(client) + 1,))
                connection.execute("COMMIT")
            else:
                row = connection.execute("SELECT value FROM register WHERE id = ?", (register,)).fetchone()
                number = row[0]
            # What a node that is gone has left open says nothing.
            known = connections.is_live(name)
            has_begun = has_begun or known
        except (sqlite3.Error, OSError) as error:
            check(error, f"register in {name}")
            known = False
            try:
                if name in connections.open and connections.open[name].in_transaction:
                    connections.open[name].execute("ROLLBACK")
            except sqlite3.Error:
                pass
            connections.drop(name)
        if known or writes and has_begun:
            say("operation", json.dumps({
                "register": f"{name} {register}", "write": writes, "value": number, "begin": begin,
                "end": time.monotonic_ns() if known else None,
            }))
        time.sleep(0.01)


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2])
    elif sys.argv[1] == "writer":
        write(*sys.argv[2:])
    elif sys.argv[1] == "register":
        use_registers(*sys.argv[2:])
    else:
        read(*sys.argv[2:])

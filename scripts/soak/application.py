"""The applications of the soak test: each a process of its own, which may be killed at any moment.

    application.py writer DIRECTORY NAME WAL|DELETE SEED PAUSE-FILE
    application.py files DIRECTORY SEED PAUSE-FILE
    application.py reader DIRECTORY SEED

A writer numbers its transactions and says each on a line of its output once SQLite has reported
it as committed. Whatever is wrong with what a database shows is said as `violation REASON`.
"""

import contextlib
import os
import random
import sqlite3
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../shared"))
from mounted import is_on_mount

# Rows a database keeps: old ones are deleted, so that it does not grow for ever.
KEPT = 3000


def say(*words):
    print(*words, flush=True)


def connect(path, mode=None, flags="rwc"):
    connection = sqlite3.connect(
        f"file:{path}?mode={flags}", uri=True, timeout=20, isolation_level=None
    )
    connection.execute("PRAGMA schema_version").fetchone()
    if not is_on_mount(path):
        connection.close()
        raise OSError(f"{path} is not on the mount")
    if mode:
        connection.execute(f"PRAGMA journal_mode={mode}").fetchone()
        connection.execute("PRAGMA synchronous=NORMAL")
        # In one transaction: a reader that finds the tables may rely on their content.
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE IF NOT EXISTS t(n INTEGER PRIMARY KEY, x BLOB)")
        connection.execute("CREATE TABLE IF NOT EXISTS last(id INTEGER PRIMARY KEY, n INTEGER)")
        connection.execute("INSERT OR IGNORE INTO last VALUES (1, 0)")
        connection.execute("COMMIT")
    return connection


def attempt(body, pause=0.2):
    """Performs `body` until its node is there: a killed node's mount fails in many ways."""
    while True:
        try:
            return body()
        except (sqlite3.Error, OSError):
            time.sleep(pause)


@contextlib.contextmanager
def judging(path):
    """Says so when a database is found damaged, while its files are still open."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if "malformed" in str(error) or "not a database" in str(error):
            blame(path, f"{path}: {error}")
        raise


def blame(path, what):
    """The node answers for what is read through its mount, and for nothing else."""
    if is_on_mount(path):
        say("violation", what)
    else:
        say("orphaned")


def wait_while_paused(pause):
    if os.path.exists(pause):
        say("paused")
        while os.path.exists(pause):
            time.sleep(0.05)
        say("resumed")


def commit(connection, random_, rows):
    connection.execute("BEGIN IMMEDIATE")
    (number,) = connection.execute("SELECT n FROM last").fetchone()
    for _ in range(rows):
        number += 1
        size = random_.choice((20, 200, 3000))
        connection.execute("INSERT INTO t VALUES (?, ?)", (number, random_.randbytes(size)))
    connection.execute("UPDATE last SET n = ?", (number,))
    connection.execute("DELETE FROM t WHERE n <= ?", (number - KEPT,))
    connection.execute("COMMIT")
    say("committed", number)


def write(connection, random_):
    choice = random_.random()
    if choice < 0.005:
        connection.execute("VACUUM")
        say("vacuumed")
    elif choice < 0.02:
        commit(connection, random_, random_.randrange(500, 2500))
    elif choice < 0.03:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DELETE FROM t")
        connection.execute("ROLLBACK")
    else:
        commit(connection, random_, 1)


def writer(directory, name, mode, seed, pause):
    random_ = random.Random(int(seed))
    path = os.path.join(directory, name)

    def work():
        connection = connect(path, mode)
        try:
            while True:
                wait_while_paused(pause)
                with judging(path):
                    write(connection, random_)
                time.sleep(random_.random() * 0.01)
        finally:
            connection.close()

    attempt(work)


def files(directory, seed, pause):
    """Makes databases, renames them and removes them."""
    random_ = random.Random(int(seed))

    def work():
        while True:
            wait_while_paused(pause)
            name = os.path.join(directory, f"short-{random_.randrange(4)}.db")
            for suffix in ("", "-wal", "-shm", "-journal"):
                if os.path.exists(name + suffix):
                    os.remove(name + suffix)
            connection = connect(name, random_.choice(("WAL", "DELETE")))
            for _ in range(random_.randrange(1, 20)):
                commit(connection, random_, random_.randrange(1, 50))
            connection.close()
            if random_.random() < 0.5:
                os.rename(name, os.path.join(directory, f"moved-{random_.randrange(2)}.db"))
            say("replaced")
            time.sleep(random_.random() * 0.5)

    attempt(work)


def look_twice(connection, between):
    query = "SELECT (SELECT n FROM last), count(*), coalesce(max(n), 0), sum(length(x)) FROM t"
    connection.execute("BEGIN")
    first = connection.execute(query).fetchone()
    time.sleep(between)
    second = connection.execute(query).fetchone()
    connection.execute("COMMIT")
    return first, second


def reader(directory, seed):
    """Looks at each database twice within a transaction: the same must be seen; and from one
    transaction to the next on a connection nothing may go backwards."""
    random_ = random.Random(int(seed))
    names = ("wal.db", "delete.db")

    def work():
        seen = {}
        connections = {}
        try:
            for _ in range(200):
                name = random_.choice(names)
                path = os.path.join(directory, name)
                if name not in connections:
                    connections[name] = connect(path, flags="ro")
                connection = connections[name]
                with judging(path):
                    first, second = look_twice(connection, random_.choice((0, 0.01, 0.5)))
                wrong = None
                if first != second:
                    wrong = f"a snapshot of {name} changed from {first} to {second}"
                elif first[0] != first[2] or first[1] != min(first[0], KEPT):
                    wrong = f"{name} shows a part of a transaction: {first}"
                elif first[0] < seen.get(name, 0):
                    wrong = f"{name} went back from {seen[name]} to {first[0]}"
                if wrong:
                    blame(path, wrong)
                    return
                seen[name] = first[0]
                say("read")
        finally:
            for connection in connections.values():
                connection.close()

    while True:
        attempt(work)


if __name__ == "__main__":
    {"writer": writer, "files": files, "reader": reader}[sys.argv[1]](*sys.argv[2:])

"""Keeps the right to write over several transactions, as applications for LiteFS do, on each of several mounts.

usage: halt.py DATABASE MOUNT...

On one mount after the other a client locks byte 72 of `DATABASE-lock` and makes transactions; meanwhile clients of the
other mounts write, too, with a busy timeout of 30 s. Fails when any of their rows comes between the first and
the last transaction under the lock, or when one of them is not there in the end.
"""

import fcntl
import sqlite3
import sys
import threading
import time

NAME, MOUNTS = sys.argv[1], sys.argv[2:]
TRANSACTIONS = 30


def write(mount, begun, rows):
    connection = sqlite3.connect(f"{mount}/{NAME}", timeout=30, isolation_level=None)
    for row in range(rows):
        begun.set()
        connection.execute("INSERT INTO t VALUES (?, ?)", (mount, row))
    connection.close()


def rows_in_the_end(connection, expected):
    """How many rows a mount has, which may be a moment behind."""
    end = time.monotonic() + 20
    while True:
        rows = connection.execute("SELECT count(*) FROM t").fetchone()[0]
        if rows >= expected or time.monotonic() > end:
            return rows
        time.sleep(0.02)


def hold(mount, expected):
    """Writes under the lock while the others want to."""
    connection = sqlite3.connect(f"{mount}/{NAME}", timeout=30, isolation_level=None)
    others = [other for other in MOUNTS if other != mount]
    events = [threading.Event() for _ in others]
    threads = [threading.Thread(target=write, args=(other, event, 3)) for other, event in zip(others, events)]
    with open(f"{mount}/{NAME}-lock", "ab") as file:
        fcntl.lockf(file, fcntl.LOCK_EX, 1, 72)
        for row in range(TRANSACTIONS):
            connection.execute("INSERT INTO t VALUES ('held', ?)", (row,))
            if row == 0:
                first = connection.execute("SELECT max(rowid) FROM t").fetchone()[0]
                for thread in threads:
                    thread.start()
                for event in events:
                    event.wait()
        last = connection.execute("SELECT max(rowid) FROM t").fetchone()[0]
        fcntl.lockf(file, fcntl.LOCK_UN, 1, 72)
    for thread in threads:
        thread.join()
    rows = rows_in_the_end(connection, expected)
    connection.close()
    if last - first != TRANSACTIONS - 1:
        sys.exit(f"{last - first - TRANSACTIONS + 1} rows came between those of {mount}, which had the lock")
    return rows


expected = 0
for mount in MOUNTS:
    expected += TRANSACTIONS + 3 * (len(MOUNTS) - 1)
    rows = hold(mount, expected)
    if rows != expected:
        sys.exit(f"there are {rows} rows after {mount} had the lock, {expected} were written")

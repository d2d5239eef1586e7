"""Kills clients that hold the right to write on each of several mounts: in a transaction, and with byte 72 locked.

usage: gone.py DATABASE MOUNT...

After each kill a client of every other mount, and then one of the same mount, must commit within its busy timeout
of 10 s. Fails when one of them cannot, or when a row of a client that was killed is to be seen anywhere.
"""

import fcntl
import os
import signal
import sqlite3
import subprocess
import sys
import time

ROWS = 300  # Of 3,000 bytes each: with a cache of 4 pages most are in the file, or in the WAL, before the end.
FREE = 1000  # Free pages: what a transaction writes to one of these no rollback journal holds.
PATIENCE = 10


def connect(path, timeout=PATIENCE):
    return sqlite3.connect(path, timeout=timeout, isolation_level=None)


def begin(path):
    """What the client does that is killed: half a transaction."""
    connection = connect(path)
    connection.execute("PRAGMA cache_size = 4")
    connection.execute("BEGIN IMMEDIATE")
    for _ in range(ROWS):
        connection.execute("INSERT INTO t VALUES ('gone', randomblob(3000))")
    connection.execute("UPDATE t SET node = 'changed'")
    stand_still()


def lock(path):
    """Another such client: one that has the right to write without a transaction."""
    with open(f"{path}-lock", "ab") as file:
        fcntl.lockf(file, fcntl.LOCK_EX, 1, 72)
        connect(path).execute("INSERT INTO t VALUES ('kept', 0)")
        stand_still()


def stand_still():
    print("ready", flush=True)
    signal.pause()


def kill_one(way, path):
    client = subprocess.Popen([sys.executable, __file__, way, path], stdout=subprocess.PIPE, text=True)
    said = client.stdout.readline()
    os.kill(client.pid, signal.SIGKILL)
    client.wait()
    client.stdout.close()
    if said != "ready\n":
        sys.exit(f"the client that was to be killed ({way}, {path}) said {said!r}")


def expect_rows(path, expected):
    """Waits until a mount, which may be a moment behind, has these rows."""
    connection = connect(path)
    end = time.monotonic() + PATIENCE
    while True:
        rows = dict(connection.execute("SELECT node, count(*) FROM t GROUP BY node"))
        if rows == expected:
            break
        if time.monotonic() > end:
            sys.exit(f"{path} has {rows} instead of {expected}")
        time.sleep(0.02)
    connection.close()


def free_pages(path):
    connection = connect(path)
    connection.execute("CREATE TABLE junk(x)")
    connection.execute("BEGIN")
    for _ in range(FREE):
        connection.execute("INSERT INTO junk VALUES (randomblob(3900))")
    connection.execute("COMMIT")
    connection.execute("DROP TABLE junk")
    connection.close()


def check(name, mounts):
    free_pages(f"{mounts[0]}/{name}")
    expected = {}
    for way in ["begin", "lock"]:
        for mount in mounts:
            kill_one(way, f"{mount}/{name}")
            if way == "lock":
                expected["kept"] = expected.get("kept", 0) + 1
            for other in [other for other in mounts if other != mount] + [mount]:
                connection = connect(f"{other}/{name}")
                begun = time.monotonic()
                connection.execute("INSERT INTO t VALUES ('after', 0)")
                print(f"{way} on {mount}, then {other}: {time.monotonic() - begun:.3f} s")
                connection.close()
                expected["after"] = expected.get("after", 0) + 1
            for other in mounts:
                expect_rows(f"{other}/{name}", expected)


if sys.argv[1] == "begin":
    begin(sys.argv[2])
elif sys.argv[1] == "lock":
    lock(sys.argv[2])
else:
    check(sys.argv[1], sys.argv[2:])

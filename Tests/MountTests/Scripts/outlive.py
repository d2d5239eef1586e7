#!/usr/bin/env python3
"""A client whose files stay open when the daemon under them is killed and started again.

usage: outlive.py DATABASE MODE PID

Commits 40 rows, writes many pages of a transaction that it does not commit, kills the daemon, waits until
the mount is served again, and goes on writing to the file it had open, as SQLite would in the midst of a
transaction. Exits with 0 where what the new mount shows are the 40 rows, before and after, and the old
transaction cannot be committed.
"""

import os
import signal
import sqlite3
import sys
import time

LIMIT = 60


def served(path):
    """A connection through the new mount, once there is one."""
    deadline = time.monotonic() + LIMIT
    while True:
        try:
            # Between the two mounts there is a bare directory: nothing must be created there.
            connection = sqlite3.connect(f"file:{path}?mode=rw", timeout=20, uri=True)
            connection.execute("select count(*) from sqlite_master").fetchone()
            return connection
        except sqlite3.Error as error:
            if time.monotonic() > deadline:
                sys.exit(f"the mount did not come back: {error}")
            time.sleep(0.02)


def check(connection, when):
    rows = connection.execute("select count(*), min(length(b)), max(length(b)) from t").fetchone()
    verdict = connection.execute("pragma integrity_check").fetchall()
    if rows != (40, 3000, 3000) or verdict != [("ok",)]:
        sys.exit(f"{when}: {rows} {verdict}")


def main(path, mode, process):
    connection = sqlite3.connect(path, isolation_level=None, timeout=20)
    connection.execute(f"pragma journal_mode={mode}").fetchall()
    connection.execute("pragma cache_size=4")
    connection.execute("create table t(a integer primary key, b blob)")
    connection.execute("begin")
    for _ in range(40):
        connection.execute("insert into t(b) values(zeroblob(3000))")
    connection.execute("commit")
    old = os.open(path, os.O_RDWR)
    size = os.fstat(old).st_size
    connection.execute("begin")
    connection.execute("update t set b = zeroblob(3001)")
    os.kill(int(process), signal.SIGKILL)
    again = served(path)
    check(again, "after the restart")
    try:
        os.pwrite(old, b"\x55" * size, 0)
        print("written", size)
    except OSError as error:
        print("refused", error)
    check(again, "after a write to the old file")
    again.execute("insert into t(a, b) values(100, zeroblob(3000))")
    again.execute("delete from t where a = 100")
    again.commit()
    try:
        connection.execute("commit")
        sys.exit("a commit was acknowledged that nobody will ever see")
    except sqlite3.Error as error:
        print("not committed:", error)
    check(sqlite3.connect(path, timeout=20), "in the end")
    os._exit(0)


main(*sys.argv[1:4])

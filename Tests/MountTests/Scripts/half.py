#!/usr/bin/env python3
"""Kills a daemon while a transaction is half written, or tells about the database afterwards.

usage: half.py write DATABASE MODE LOCKING PID
       half.py check DATABASE

`write` commits 40 rows, then writes many pages of a transaction that it does not commit, kills
the daemon and ends. `check` exits with 0 where exactly the 40 rows are there.
"""

import os
import signal
import sqlite3
import sys


def write(path, mode, locking, process):
    connection = sqlite3.connect(path, isolation_level=None, timeout=20)
    connection.execute(f"pragma locking_mode={locking}").fetchall()
    connection.execute(f"pragma journal_mode={mode}").fetchall()
    connection.execute("pragma cache_size=4")
    connection.execute("create table if not exists t(a integer primary key, b blob)")
    connection.execute("begin")
    connection.execute("delete from t")
    for _ in range(40):
        connection.execute("insert into t(b) values(zeroblob(3000))")
    connection.execute("commit")
    connection.execute("begin")
    connection.execute("update t set b = zeroblob(3001)")
    for _ in range(100):
        connection.execute("insert into t(b) values(zeroblob(3000))")
    os.kill(int(process), signal.SIGKILL)
    os._exit(0)


def check(path):
    connection = sqlite3.connect(path, timeout=20)
    rows = connection.execute("select count(*), min(length(b)), max(length(b)) from t").fetchone()
    verdict = connection.execute("pragma integrity_check").fetchall()
    if rows != (40, 3000, 3000) or verdict != [("ok",)]:
        sys.exit(f"{rows} {verdict}")


if sys.argv[1] == "write":
    write(*sys.argv[2:6])
else:
    check(sys.argv[2])

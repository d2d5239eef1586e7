#!/usr/bin/env python3
"""Makes large databases, and checks how they come to a replica.

usage: large.py lock-page DATABASE     more than 1 GiB, past the page that holds the lock bytes
       large.py transaction DATABASE MODE MEGABYTES   one transaction of that size
       large.py same DATABASE DATABASE...     waits until the content is the same
       large.py memory PID                    the most memory the process has had, in MiB
"""

import random
import sqlite3
import sys
import time

LOCK_PAGE = 1 << 30
STATE = "select count(*), sum(length(b)), max(a), (select sum(x) from small) from t"


def lock_page(path):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("pragma page_size=65536")
    connection.execute("pragma journal_mode=truncate")
    connection.execute("pragma synchronous=off")
    connection.execute("create table t(a integer primary key, b blob)")
    connection.execute("create table small(x)")
    for _ in range(22):
        connection.execute("insert into t(b) values(zeroblob(50000000))")
    connection.execute("insert into small values(1)")
    connection.execute("pragma journal_mode=wal")
    connection.execute("insert into small values(2)")
    # Row 22 lies around the lock page, and what is freed of it is used again.
    connection.execute("delete from t where a = 22")
    connection.execute("insert into t(b) values(zeroblob(40000000))")
    connection.execute("pragma wal_checkpoint(truncate)")
    connection.execute("pragma journal_mode=persist")
    connection.execute("insert into small values(4)")
    connection.close()
    with open(path, "rb") as file:
        file.seek(LOCK_PAGE)
        if any(file.read(65536)):
            sys.exit("the lock page has content")


def transaction(path, mode, megabytes):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("pragma page_size=16384")
    connection.execute(f"pragma journal_mode={mode}")
    connection.execute("pragma synchronous=off")
    connection.execute("create table t(a integer primary key, b blob)")
    connection.execute("create table small(x)")
    block = random.Random(mode).randbytes(1 << 20)
    connection.execute("begin")
    for number in range(int(megabytes)):
        connection.execute("insert into t(b) values(?)", (block[number:] + block[:number],))
    connection.execute("commit")
    if mode != "off":
        connection.execute("begin")
        connection.execute("update t set b = b || '1'")
        connection.execute("rollback")
    connection.close()


def same(paths):
    deadline = time.monotonic() + 60
    while True:
        found = []
        for path in paths:
            try:
                connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)
                found.append(connection.execute(STATE).fetchall())
                connection.close()
            except sqlite3.Error as error:
                found.append(str(error))
        if isinstance(found[0], list) and all(rows == found[0] for rows in found):
            return
        if time.monotonic() > deadline:
            sys.exit(f"the content differs: {found}")
        time.sleep(0.05)


def memory(process):
    with open(f"/proc/{process}/status") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                print(int(line.split()[1]) // 1024)


command, arguments = sys.argv[1], sys.argv[2:]
if command == "lock-page":
    lock_page(*arguments)
elif command == "transaction":
    transaction(*arguments)
elif command == "same":
    same(arguments)
else:
    memory(*arguments)

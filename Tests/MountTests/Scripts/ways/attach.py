#!/usr/bin/env python3
"""Transactions over several databases, and the super-journal that ties them together.

usage: attach.py WAY MOUNT PLAIN REPLICA (WAY `list` prints the ways)
"""

import functools
import glob
import os
import signal
import subprocess
import sys

from side import main

NAMES = ["a.db", "b.db", "c.db"]
COUNT = "select count(*), sum(length(b)) from t"


def prepare(side, mode, synchronous="full"):
    for name in NAMES:
        connection = side.open(name)
        side.run(connection, f"pragma journal_mode={mode}")
        side.run(connection, "create table t(a integer primary key, b blob)")
        side.run(connection, "insert into t(b) values(zeroblob(100))")
        connection.close()


def attached(side, mode):
    connection = side.open(NAMES[0])
    for name in NAMES[1:]:
        connection.execute(f"attach '{side.path(name)}' as {name[0]}x")
    for schema in ["main", "bx", "cx"]:
        side.run(connection, f"pragma {schema}.journal_mode={mode}")
    return connection


def write(side, connection, size):
    for table in ["main.t", "bx.t", "cx.t"]:
        side.run(connection, f"insert into {table}(b) values(zeroblob(?))", size)
        side.run(connection, f"update {table} set b = zeroblob(?) where a = 1", size)


def supers(side):
    return [os.path.basename(path) for path in glob.glob(side.path("*-mj*"))]


def commits(mode, side):
    """Commits and rollbacks over three databases."""
    prepare(side, mode)
    connection = attached(side, mode)
    for number in range(10):
        side.run(connection, "begin")
        write(side, connection, 1000 + number)
        side.run(connection, "rollback" if number % 4 == 3 else "commit")
        for name in NAMES:
            other = side.open(name)
            side.reached(name, COUNT, side.run(other, COUNT))
            other.close()
    side.note("super-journals", supers(side))
    side.run(connection, "detach bx")
    connection.close()


SYSTEM_CALLS = ["unlink", "ftruncate", "pwrite64"]


def dies(mode, side):
    """Killed before each system call of such a commit: all of it is there afterwards, or nothing."""
    prepare(side, mode)
    statements = f"attach '{NAMES[1]}' as bx; attach '{NAMES[2]}' as cx; begin;"
    for table in ["main.t", "bx.t", "cx.t"]:
        statements += f"insert into {table}(b) values(zeroblob(300));"
    statements += "commit;"
    modes = "".join(f"pragma {schema}.journal_mode={mode};" for schema in ["main", "bx", "cx"])
    statements = statements.replace("begin;", modes + "begin;")
    seen = set()
    for call in SYSTEM_CALLS:
        number = 0
        while True:
            number += 1
            # Many writes stand in a row: the first ones, and then a sample.
            if number > 6 and number % 4:
                continue
            before = counts(side)
            result = subprocess.run(
                ["strace", "-qq", "-o", "/dev/null", "-e", f"trace={call}",
                 "-e", f"inject={call}:signal=KILL:when={number}",
                 "sqlite3", "-batch", "-bail", NAMES[0], statements],
                cwd=side.directory, stdout=subprocess.DEVNULL, timeout=60,
            )  # fmt: skip
            after = counts(side)
            done = result.returncode == 0
            side.note(call, number, done, after)
            changed = {a != b for a, b in zip(before, after)}
            if len(changed) != 1:
                raise AssertionError(f"{call} {number}: {before} has become {after}")
            seen |= changed
            for name, count in zip(NAMES, after):
                side.reached(name, "select count(*) from t", [(count,)])
            if done:
                break
            if number > 200:
                sys.exit(f"{call} has no end")
    side.note(seen)
    # SQLite removes a super-journal that nobody needs any more when it next comes upon it.
    for name in supers(side):
        os.remove(side.path(name))


def counts(side):
    """How many rows each database has, seen by a client of its own."""
    found = []
    for name in NAMES:
        connection = side.open(name)
        found.append(connection.execute("select count(*) from t").fetchone()[0])
        connection.close()
    return found


if __name__ == "__main__":
    ways = {}
    for mode in ["delete", "truncate", "persist", "wal"]:
        ways[f"commits-{mode}"] = functools.partial(commits, mode)
    for mode in ["delete", "persist"]:
        ways[f"dies-{mode}"] = functools.partial(dies, mode)
    main(ways)

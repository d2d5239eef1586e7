#!/usr/bin/env python3
"""The `sqlite3` shell, killed before each of its system calls that could matter.

usage: kills.py WAY MOUNT PLAIN REPLICA (WAY `list` prints the ways)

`strace` kills it. Afterwards another client must find the content from before or from after the
transaction, the same one on both sides, and the replica must have it.
"""

import functools
import subprocess
import sys

from side import main

CALLS = ["pwrite64", "fdatasync", "unlink", "ftruncate", "fcntl"]
STATE = "select count(*), sum(length(b)), max(length(b)) from t"
PLANS = [
    ("delete", "normal"),
    ("delete", "exclusive"),
    ("truncate", "normal"),
    ("persist", "exclusive"),
    ("wal", "normal"),
    ("wal", "exclusive"),
    ("memory", "normal"),
    ("off", "exclusive"),
]


def statements(mode, locking):
    settings = (
        f"pragma locking_mode={locking}; pragma journal_mode={mode}; pragma cache_size=4;"
        "pragma synchronous=normal;"
        if locking == "exclusive"
        else f"pragma journal_mode={mode}; pragma cache_size=4;"
    )
    return settings + (
        "begin; update t set b = zeroblob(length(b) + 1);"
        "insert into t(b) select zeroblob(1500) from t limit 8;"
        "delete from t where a in (select a from t order by a limit 8);"
        "commit; select count(*) from t;"
    )


def fill(side, connection):
    side.run(connection, "delete from t")
    side.run(connection, "insert into t(b) values(zeroblob(900))")
    for _ in range(4):
        side.run(connection, "insert into t(b) select zeroblob(900) from t")


def each(mode, locking, side):
    connection = side.open("a.db")
    side.run(connection, "pragma page_size=1024")
    side.run(connection, f"pragma journal_mode={mode}")
    side.run(connection, "create table t(a integer primary key, b blob)")
    fill(side, connection)
    image = connection.serialize()
    connection.close()
    undone = mode in ("memory", "off")
    states = []
    for call in CALLS:
        number = 0
        while True:
            number += 1
            # Many of the same kind stand in a row: the first ones, and then a sample.
            if number > 4 and number % (7 if call == "pwrite64" else 3):
                continue
            result = subprocess.run(
                ["strace", "-qq", "-o", "/dev/null", "-e", f"trace={call}",
                 "-e", f"inject={call}:signal=KILL:when={number}",
                 "sqlite3", "-batch", "-bail", "a.db", statements(mode, locking)],
                cwd=side.directory, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60,
            )  # fmt: skip
            done = result.returncode == 0
            before = len(side.notes)
            connection = side.open("a.db")
            rows = side.run(connection, STATE)
            side.note(call, number, done, result.stderr, rows)
            side.reached("a.db", STATE, rows if isinstance(rows, list) else rows)
            if not undone and side.run(connection, "pragma integrity_check") != [("ok",)]:
                raise AssertionError(f"{call} {number}: {side.notes[-1]}")
            if call == "fcntl":
                # The node spares readers some locks: what counts is which states follow each other,
                # and each begins with the same content.
                if not undone:
                    fill(side, connection)
                del side.notes[before:]
                if not states or states[-1] != (done, result.stderr, rows):
                    states.append((done, result.stderr, rows))
            connection.close()
            if undone:
                # What such a death leaves may be no database any more: begin again from a good one.
                with open(side.path("a.db"), "wb") as file:
                    file.write(image)
            if done:
                break
            if number > 400:
                sys.exit(f"{call} has no end")
    side.note("fcntl", states)


if __name__ == "__main__":
    main(
        {
            f"{mode}-{locking}": functools.partial(each, mode, locking)
            for mode, locking in PLANS
        }
    )

#!/usr/bin/env python3
"""Commits without a journal, under a lock that is kept, and larger than the cache.

usage: journals.py WAY MOUNT PLAIN REPLICA (WAY `list` prints the ways)
"""

import functools
import os

from side import main

JOURNALS = ["delete", "truncate", "persist", "memory", "off", "wal"]
COUNT = "select count(*), sum(length(b)) from t"
ROWS = "with recursive n(i) as (select 1 union all select i + 1 from n where i < {}) "
FILL = ROWS + "insert into t(b) select zeroblob({}) from n"

WAYS = {}


def way(*arguments):
    """Enters a function under its name and its argument, for each argument."""

    def enter(body):
        for argument in arguments or [None]:
            name = body.__name__.replace("_", "-")
            if argument is None:
                WAYS[name] = body
            else:
                WAYS[f"{name}-{argument}"] = functools.partial(body, argument)
        return body

    return enter


def prepare(side, name="a.db", mode="delete", setting="", options=""):
    connection = side.open(name, options)
    if setting:
        side.run(connection, setting)
    side.run(connection, f"pragma journal_mode={mode}")
    side.run(connection, "create table t(a integer primary key, b blob)")
    side.run(connection, "create index i on t(length(b))")
    return connection


@way("memory", "off")
def unjournaled(mode, side):
    """Many small transactions, one right after the other: none may be overlooked."""
    connection = prepare(side, mode=mode)
    for number in range(60):
        side.run(connection, "insert into t(b) values(zeroblob(?))", number)
        side.run(connection, "update t set b = zeroblob(7) where a = ?", number // 2)
    side.reached("a.db", COUNT, connection.execute(COUNT).fetchall())
    # The size stays, and the moment of the change may well be that of the one before.
    for number in range(40):
        side.run(connection, f"pragma user_version={number}")
        side.reached("a.db", "pragma user_version", [(number,)])
    side.run(connection, "begin")
    side.run(connection, "delete from t where a > 50")
    side.run(connection, "rollback" if mode == "memory" else "commit")
    side.run(connection, COUNT)
    connection.close()


@way("memory", "off")
def unjournaled_dies(mode, side):
    """Killed before anything was written, and between two transactions."""
    connection = prepare(side, mode=mode)
    connection.close()

    def unwritten():
        inner = side.open("a.db")
        inner.execute(f"pragma journal_mode={mode}")
        inner.execute("insert into t(b) values(zeroblob(10))")
        inner.execute("begin")
        inner.execute("insert into t(b) values(zeroblob(20))")

    side.child(unwritten)
    connection = side.open("a.db")
    side.run(connection, COUNT)

    def kept():
        inner = side.open("a.db")
        inner.execute(f"pragma journal_mode={mode}")
        inner.execute("pragma locking_mode=exclusive")
        inner.execute("insert into t(b) values(zeroblob(30))")

    side.child(kept)
    side.run(connection, COUNT)
    side.reached("a.db", COUNT, connection.execute(COUNT).fetchall())
    connection.close()


@way("memory", "off")
def unjournaled_dies_inside(mode, side):
    """Killed after pages of an unfinished transaction were written: nobody can undo that."""
    connection = prepare(side, mode=mode)
    side.run(connection, FILL.format(50, 900))
    connection.close()

    def spilled():
        inner = side.open("a.db")
        inner.execute(f"pragma journal_mode={mode}")
        inner.execute("pragma cache_size=5")
        inner.execute("begin")
        inner.execute("update t set b = zeroblob(901)")
        inner.execute(FILL.format(100, 1000))

    side.child(spilled)
    connection = side.open("a.db")
    rows = side.run(connection, "select count(*) from t where length(b) > 900")
    # Whatever state that is, the replica has the same.
    side.reached("a.db", "select count(*) from t where length(b) > 900", rows)
    side.run(connection, "reindex")
    side.run(connection, "vacuum")
    connection.close()


@way(*JOURNALS)
def exclusive(mode, side):
    """`locking_mode=EXCLUSIVE`: the lock is kept from one transaction to the next."""
    connection = prepare(side, mode=mode)
    connection.close()
    connection = side.open("a.db")
    side.run(connection, "pragma locking_mode=exclusive")
    side.run(connection, f"pragma journal_mode={mode}")
    other = side.open("a.db", timeout=0)

    def write(number):
        side.run(connection, "insert into t(b) values(zeroblob(?))", number)

    write(0)
    for number in range(1, 20):
        if mode in ("memory", "off"):
            # There is nothing by which one could tell a transaction before the lock goes.
            side.unseen("a.db", lambda: write(number))
        else:
            write(number)
            side.reached("a.db", COUNT, connection.execute(COUNT).fetchall())
        side.run(other, COUNT)
    side.note("shm", os.path.exists(side.path("a.db-shm")))
    side.run(connection, "begin")
    side.run(connection, FILL.format(200, 3000))
    side.run(connection, "commit" if mode == "off" else "rollback")
    side.run(connection, "pragma wal_checkpoint")
    write(20)
    side.run(connection, "pragma locking_mode=normal")
    side.run(connection, COUNT)
    rows = connection.execute(COUNT).fetchall()
    if mode != "wal":
        side.reached("a.db", COUNT, rows)
        side.run(other, COUNT)
    connection.close()
    side.reached("a.db", COUNT, rows)
    side.run(other, COUNT)
    other.close()


@way(*JOURNALS)
def exclusive_dies(mode, side):
    """The holder of the lock dies after a commit, and in a transaction that has spilled."""
    prepare(side, mode=mode).close()

    def body(spill):
        inner = side.open("a.db")
        inner.execute("pragma locking_mode=exclusive")
        inner.execute(f"pragma journal_mode={mode}")
        inner.execute("pragma cache_size=5")
        inner.execute(FILL.format(30, 500))
        if spill:
            inner.execute("begin")
            inner.execute("update t set b = zeroblob(501)")
            inner.execute(FILL.format(100, 1000))

    for spill in [False, True] if mode not in ("memory", "off") else [False]:
        side.child(lambda: body(spill))
        connection = side.open("a.db")
        rows = side.run(connection, COUNT)
        side.run(connection, "pragma integrity_check")
        side.reached("a.db", COUNT, rows)
        side.run(connection, "insert into t(b) values(zeroblob(3))")
        side.reached("a.db", COUNT, connection.execute(COUNT).fetchall())
        connection.close()


@way("memory", "delete", "wal")
def exclusive_with_visitors(mode, side):
    """Others come and go while the lock is held and a transaction is half written."""
    prepare(side, mode=mode).close()
    connection = side.open("a.db")
    side.run(connection, "pragma locking_mode=exclusive")
    side.run(connection, f"pragma journal_mode={mode}")
    side.run(connection, "pragma cache_size=5")
    side.run(connection, "begin immediate")
    side.run(connection, FILL.format(300, 1000))
    for _ in range(300):
        visitor = side.open("a.db", timeout=0)
        side.run(visitor, COUNT)
        side.run(visitor, "insert into t(b) values(1)")
        visitor.close()
        # A descriptor that was open for writing and is closed.
        os.close(os.open(side.path("a.db"), os.O_RDWR))
    other = side.open("b.db", timeout=0)
    side.run(other, "create table t(b)")
    side.run(other, "insert into t values(5)")
    other.close()
    side.reached("b.db", "select * from t", [(5,)])
    side.run(connection, "commit")
    rows = connection.execute(COUNT).fetchall()
    connection.close()
    side.reached("a.db", COUNT, rows)


@way("wal")
def exclusive_by_index(mode, side):
    """EXCLUSIVE set after the wal-index is shared: SQLite keeps it and takes no lock on it."""
    connection = prepare(side, mode=mode)
    side.run(connection, "insert into t(b) values(1)")
    side.run(connection, "pragma locking_mode=exclusive")
    for number in range(30):
        side.run(connection, "insert into t(b) values(zeroblob(?))", number)
        side.reached("a.db", COUNT, connection.execute(COUNT).fetchall())
        if number % 10 == 5:
            side.run(connection, "pragma wal_checkpoint(truncate)")
    side.run(connection, FILL.format(2500, 3000))
    side.run(connection, "pragma locking_mode=normal")
    side.run(connection, COUNT)
    other = side.open("a.db")
    side.run(other, COUNT)
    side.run(other, "insert into t(b) values(2)")
    side.run(connection, COUNT)
    side.run(connection, "insert into t(b) values(3)")
    connection.close()
    other.close()


@way(*JOURNALS)
def spill(mode, side):
    """Transactions larger than the cache: pages are written long before the commit."""
    connection = prepare(side, mode=mode, setting="pragma page_size=1024")
    side.run(connection, "pragma cache_size=5")
    if mode in ("truncate", "persist"):
        # What is synced is the same as in DELETE mode, and takes its time.
        side.run(connection, "pragma synchronous=off")
    side.run(connection, FILL.format(200, 900))
    for end in ["commit", "rollback" if mode != "off" else "commit", "commit"]:
        side.run(connection, "begin")
        side.run(connection, "update t set b = zeroblob(length(b) + 1) where a % 3 = 1")
        side.run(connection, "savepoint s")
        side.run(connection, "update t set b = zeroblob(2000) where a % 5 = 2")
        if mode != "off":
            side.run(connection, "rollback to s")
        side.run(connection, "update t set b = zeroblob(40) where a % 7 = 3")
        side.run(connection, "delete from t where a % 11 = 0")
        side.run(connection, FILL.format(100, 1500))
        side.run(connection, end)
        side.reached("a.db", COUNT, side.run(connection, COUNT))
    connection.close()


@way(*JOURNALS)
def vacuums(mode, side):
    """VACUUM, also to another page size, and both kinds of auto_vacuum."""
    for kind in ["none", "full", "incremental"]:
        name = kind + ".db"
        connection = prepare(side, name, mode, setting=f"pragma auto_vacuum={kind}")
        side.run(connection, FILL.format(300, 2000))
        side.run(connection, "delete from t where a % 4 > 0")
        side.run(connection, "pragma incremental_vacuum(10)").sort()
        side.run(connection, "pragma page_count")
        side.run(connection, "pragma incremental_vacuum").sort()
        side.run(connection, "pragma freelist_count")
        side.run(connection, FILL.format(20, 9000))
        side.run(connection, "drop index i")
        for size in [512, 65536, 8192]:
            side.run(connection, f"pragma page_size={size}")
            side.run(connection, "vacuum")
            side.run(connection, "insert into t(b) values(zeroblob(5000))")
            side.reached(name, COUNT, side.run(connection, COUNT))
        side.run(connection, "delete from t where a > 20")
        side.run(connection, "pragma auto_vacuum=2")
        side.run(connection, "vacuum")
        connection.execute("vacuum into ?", (side.path("into-" + name),))
        connection.close()


if __name__ == "__main__":
    main(WAYS)

#!/usr/bin/env python3
"""Checkpoints of every kind, write-ahead logs that are cut, kept and large.

usage: wal.py WAY MOUNT PLAIN REPLICA (WAY `list` prints the ways)
"""

import ctypes
import os

from side import main

COUNT = "select count(*), sum(length(b)) from t"
FILL = (
    "with recursive n(i) as (select 1 union all select i + 1 from n where i < {}) "
    "insert into t(b) select zeroblob({}) from n"
)
PERSIST_WAL = 10


def prepare(side, name="a.db", size=4096, options=""):
    connection = side.open(name, options)
    side.run(connection, f"pragma page_size={size}")
    side.run(connection, "pragma journal_mode=wal")
    side.run(connection, "create table t(a integer primary key, b blob)")
    return connection


def restarts(side):
    """Each kind of checkpoint, idle and while readers hold snapshots."""
    for kind in ["passive", "full", "restart", "truncate"]:
        name = kind + ".db"
        connection = prepare(side, name)
        side.run(connection, "pragma wal_autocheckpoint=0")
        reader = side.open(name, timeout=0)
        for number in range(6):
            side.run(connection, FILL.format(20, 300 + number))
            if number % 3 == 1:
                side.run(reader, "begin")
                side.run(reader, COUNT)
            side.run(connection, FILL.format(5, 2000))
            connection.execute("pragma busy_timeout=0")
            side.run(connection, f"pragma wal_checkpoint({kind})")
            side.run(reader, COUNT)
            if number % 3 == 2:
                side.run(reader, "commit")
                side.run(connection, f"pragma wal_checkpoint({kind})")
            side.note("size", os.path.getsize(side.path(name + "-wal")))
            side.reached(name, COUNT, connection.execute(COUNT).fetchall())
        connection.close()
        reader.close()


def checkpoint_by_another(side):
    """A checkpoint by a process that writes nothing, and by one that dies after it."""
    connection = prepare(side)
    side.run(connection, FILL.format(100, 3000))
    for kind in ["passive", "restart", "truncate"]:

        def checkpoint():
            side.open("a.db").execute(f"pragma wal_checkpoint({kind})").fetchall()

        side.child(checkpoint)
        side.run(connection, FILL.format(10, 100))
        side.reached("a.db", COUNT, side.run(connection, COUNT))
    connection.close()


def size_limit(side):
    """`journal_size_limit` cuts the log when it is started over."""
    connection = prepare(side)
    side.run(connection, "pragma journal_size_limit=20000")
    for _ in range(3):
        side.run(connection, FILL.format(300, 3000))
        side.run(connection, "pragma wal_checkpoint(restart)")
        side.run(connection, "insert into t(b) values(1)")
        side.note("size", os.path.getsize(side.path("a.db-wal")))
        side.reached("a.db", COUNT, side.run(connection, COUNT))
    for mode in ["persist", "truncate"]:
        side.run(connection, f"pragma journal_mode={mode}")
        side.run(connection, FILL.format(10, 9000))
        side.run(connection, "update t set b = zeroblob(100)")
        side.note("size", os.path.getsize(side.path("a.db-journal")))
        side.reached("a.db", COUNT, side.run(connection, COUNT))
    connection.close()


def huge(side):
    """A log of 60 MB, more frames than three regions of the wal-index hold, never checkpointed."""
    connection = prepare(side)
    side.run(connection, "pragma wal_autocheckpoint=0")
    side.run(connection, "pragma synchronous=off")
    side.run(connection, FILL.format(5, 3500))
    reader = side.open("a.db")
    side.run(reader, "begin")
    side.run(reader, COUNT)
    side.run(connection, FILL.format(5000, 3500))
    for number in range(200):
        side.run(connection, "update t set b = zeroblob(3400) where a = ?", number)
    side.run(connection, "update t set b = zeroblob(3600)")
    side.run(reader, COUNT)
    side.run(connection, "begin")
    side.run(connection, "update t set b = zeroblob(3601) where a % 3 = 0")
    side.run(connection, "rollback")
    side.run(connection, FILL.format(1000, 3500))
    side.reached("a.db", COUNT, side.run(connection, COUNT))
    side.note(os.path.getsize(side.path("a.db-wal")) > 40 << 20)
    side.run(reader, "commit")
    side.run(reader, COUNT)
    side.run(connection, "pragma wal_checkpoint(truncate)")
    side.run(connection, "delete from t where a % 2 = 0")
    connection.close()
    reader.close()


def library():
    for name in ["libsqlite3.so.0", "libsqlite3.so"]:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise AssertionError("no SQLite library")


def persistent(side):
    """SQLITE_FCNTL_PERSIST_WAL: the log stays when the last connection closes."""
    prepare(side).close()
    sqlite = library()
    for number in range(3):
        connection = ctypes.c_void_p()
        assert sqlite.sqlite3_open(side.path("a.db").encode(), ctypes.byref(connection)) == 0
        keep = ctypes.c_int(1)
        main_file = ctypes.c_char_p(b"main")
        result = sqlite.sqlite3_file_control(
            connection, main_file, PERSIST_WAL, ctypes.byref(keep)
        )
        side.note("persist", result)
        statement = FILL.format(50, 1000 + number).encode()
        result = sqlite.sqlite3_exec(connection, ctypes.c_char_p(statement), None, None, None)
        side.note("insert", result)
        sqlite.sqlite3_close(connection)
        side.note("kept", os.path.exists(side.path("a.db-wal")))
        other = side.open("a.db", "mode=ro")
        side.reached("a.db", COUNT, side.run(other, COUNT))
        other.close()
    side.note("kept", os.path.exists(side.path("a.db-wal")))
    connection = side.open("a.db")
    side.run(connection, FILL.format(5, 10))
    side.reached("a.db", COUNT, side.run(connection, COUNT))
    connection.close()
    side.note("kept", os.path.exists(side.path("a.db-wal")))


def without_shared_memory(side):
    """EXCLUSIVE from the start: the wal-index is in the client's memory, and it checkpoints alone."""
    prepare(side).close()
    for end in ["dies", "closes", "dies"]:

        def body():
            inner = side.open("a.db")
            inner.execute("pragma locking_mode=exclusive")
            inner.execute("pragma wal_autocheckpoint=20")
            inner.execute("pragma cache_size=5")
            for number in range(30):
                inner.execute(FILL.format(10, 700 + number))
                if number % 9 == 4:
                    inner.execute("pragma wal_checkpoint(truncate)")
                if number % 9 == 7:
                    inner.execute("begin")
                    inner.execute("update t set b = zeroblob(600)")
                    inner.execute("rollback")
            assert not os.path.exists(side.path("a.db-shm"))
            side.reached("a.db", COUNT, inner.execute(COUNT).fetchall())
            if end == "closes":
                inner.close()
            else:
                inner.execute("begin")
                inner.execute("update t set b = zeroblob(8000)")

        side.child(body)
        connection = side.open("a.db")
        side.reached("a.db", COUNT, side.run(connection, COUNT))
        side.run(connection, "insert into t(b) values(zeroblob(9))")
        side.reached("a.db", COUNT, side.run(connection, COUNT))
        connection.close()


def stale_index(side):
    """A killed client's wal-index lies there while the next one keeps its own in memory."""
    prepare(side).close()

    def first():
        inner = side.open("a.db")
        inner.execute(FILL.format(30, 500))

    def second():
        inner = side.open("a.db")
        inner.execute("pragma locking_mode=exclusive")
        for number in range(5):
            inner.execute(FILL.format(3, number))
        inner.execute(FILL.format(1500, 3000))
        side.reached("a.db", COUNT, inner.execute(COUNT).fetchall())

    for _ in range(2):
        side.child(first)
        side.note("left", os.path.exists(side.path("a.db-shm")))
        side.child(second)
        connection = side.open("a.db")
        side.reached("a.db", COUNT, side.run(connection, COUNT))
        connection.close()


if __name__ == "__main__":
    main(
        {
            "restarts": restarts,
            "checkpoint-by-another": checkpoint_by_another,
            "size-limit": size_limit,
            "huge": huge,
            "persistent": persistent,
            "without-shared-memory": without_shared_memory,
            "stale-index": stale_index,
        }
    )

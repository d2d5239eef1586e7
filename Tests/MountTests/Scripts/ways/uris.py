#!/usr/bin/env python3
"""Clients that map the file, lock it in other ways than SQLite's usual ones, or do not lock it.

usage: uris.py WAY MOUNT PLAIN REPLICA (WAY `list` prints the ways)
"""

import fcntl
import functools
import os
import sqlite3
import struct
import threading
import time

from side import main

COUNT = "select count(*), sum(length(b)) from t"
FILL = (
    "with recursive n(i) as (select 1 union all select i + 1 from n where i < {}) "
    "insert into t(b) select zeroblob({}) from n"
)
JOURNALS = ["delete", "truncate", "persist", "memory", "off", "wal"]


def prepare(side, mode="delete", name="a.db"):
    connection = side.open(name)
    side.run(connection, f"pragma journal_mode={mode}")
    side.run(connection, "create table t(a integer primary key, b blob)")
    side.run(connection, FILL.format(20, 500))
    return connection


def lockless(options, vfs, side):
    """Without locks the end of a journal still commits; otherwise the close of the file tells."""
    for mode in JOURNALS:
        name = mode + ".db"
        prepare(side, mode, name).close()
        connection = side.open(name, options, vfs)
        if mode == "wal" and options == "nolock=1":
            # SQLite does without the one or the other.
            side.run(connection, COUNT)
            connection.close()
            continue
        if mode == "wal":
            side.run(connection, "pragma locking_mode=exclusive")
        side.run(connection, f"pragma journal_mode={mode}")
        for number in range(6):
            side.run(connection, "insert into t(b) values(zeroblob(?))", number)
            side.run(connection, "update t set b = zeroblob(499) where a = ?", number)
            if mode not in ("memory", "off"):
                side.reached(name, COUNT, side.run(connection, COUNT))
        if mode == "wal":
            # Neither a lock nor a sync tells of it.
            side.run(connection, "pragma synchronous=normal")
            side.run(connection, "insert into t(b) values(zeroblob(77))")
            side.reached(name, COUNT, side.run(connection, COUNT))
        side.run(connection, "begin")
        side.run(connection, FILL.format(9, 4000))
        side.run(connection, "rollback" if mode != "off" else "commit")
        connection.close()
        other = side.open(name)
        side.reached(name, COUNT, side.run(other, COUNT))
        side.run(other, "insert into t(b) values(1)")
        side.reached(name, COUNT, side.run(other, COUNT))
        other.close()


def immutable(side):
    """Read-only clients that take the file for one that nobody changes."""
    prepare(side).close()
    for options in ["immutable=1", "mode=ro", "mode=ro&nolock=1", "immutable=1&vfs=unix-none"]:
        connection = side.open("a.db", options)
        side.run(connection, COUNT)
        side.run(connection, "insert into t(b) values(1)")
        connection.close()
    other = side.open("a.db")
    side.run(other, "insert into t(b) values(1)")
    side.reached("a.db", COUNT, side.run(other, COUNT))
    other.close()


def mapped(side):
    """`mmap_size`, with the file growing and shrinking under the mapping, here and on the replica."""
    for mode in ["delete", "wal"]:
        name = mode + ".db"
        connection = prepare(side, mode, name)
        connection.execute("pragma mmap_size=100000000").fetchall()
        reader = side.open(name)
        reader.execute("pragma mmap_size=100000000").fetchall()
        there = None
        if side.replica:
            there = sqlite3.connect(f"file:{side.replica}/{name}?mode=ro", uri=True, timeout=20)
            there.execute("pragma mmap_size=100000000").fetchall()
        for number in range(8):
            side.run(connection, FILL.format(200, 3000))
            rows = side.run(reader, COUNT)
            side.reached(name, COUNT, rows)
            if there and there.execute(COUNT).fetchall() != rows:
                raise AssertionError(f"{name}: a mapping on the replica shows an old state")
            side.run(connection, "delete from t where a > ?", 100 + number)
            side.run(connection, "vacuum" if number % 2 else "pragma wal_checkpoint(restart)")
            rows = side.run(reader, COUNT)
            side.reached(name, COUNT, rows)
            if there and there.execute(COUNT).fetchall() != rows:
                raise AssertionError(f"{name}: a mapping on the replica shows an old state")
        for client in filter(None, [connection, reader, there]):
            client.close()


def waiting_locks(side):
    """A program that is not SQLite waits for SQLite's locks (F_SETLKW), and keeps it out."""
    connection = prepare(side)
    pending, shared = 0x40000000, 0x40000002
    order = []

    def wait():
        descriptor = os.open(side.path("a.db"), os.O_RDWR)
        # An OFD lock, for in one process all others are one owner's.
        lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, shared, 510, 0)
        fcntl.fcntl(descriptor, 38, lock)
        order.append("locked")
        blocked = side.open("a.db", timeout=0)
        side.run(blocked, COUNT)
        blocked.close()
        os.close(descriptor)

    side.run(connection, "begin exclusive")
    side.run(connection, "insert into t(b) values(zeroblob(4))")
    thread = threading.Thread(target=wait)
    thread.start()
    # Whether it waits cannot be asked; if it did not, the order would tell.
    time.sleep(0.2)
    order.append("commit")
    side.run(connection, "commit")
    thread.join(30)
    side.note(order, thread.is_alive())
    side.run(connection, "insert into t(b) values(zeroblob(5))")
    side.reached("a.db", COUNT, side.run(connection, COUNT))
    descriptor = os.open(side.path("a.db"), os.O_RDWR)
    fcntl.fcntl(descriptor, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, pending, 1, 0))
    connection.execute("pragma busy_timeout=0")
    side.run(connection, COUNT)
    os.close(descriptor)
    side.run(connection, COUNT)
    connection.close()


if __name__ == "__main__":
    main(
        {
            "nolock": functools.partial(lockless, "nolock=1", None),
            "unix-none": functools.partial(lockless, "", "unix-none"),
            "unix-dotfile": functools.partial(lockless, "", "unix-dotfile"),
            "unix-excl": functools.partial(lockless, "", "unix-excl"),
            "immutable": immutable,
            "mapped": mapped,
            "waiting-locks": waiting_locks,
        }
    )

#!/usr/bin/env python3
"""Databases that come, change and go as files: copied, moved, cut, overwritten, removed.

usage: files.py WAY MOUNT PLAIN REPLICA (WAY `list` prints the ways)
"""

import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile

from side import main

COUNT = "select count(*), sum(length(b)) from t"
FILL = (
    "with recursive n(i) as (select 1 union all select i + 1 from n where i < {}) "
    "insert into t(b) select zeroblob({}) from n"
)
MODES = ["delete", "wal"]


def prepare(side, name, mode="delete", rows=20, size=4096):
    """A database with some rows, in the place of any other."""
    if os.path.exists(side.path(name)):
        os.remove(side.path(name))
    connection = side.open(name)
    connection.execute(f"pragma page_size={size}")
    connection.execute(f"pragma journal_mode={mode}")
    connection.execute("create table t(a integer primary key, b blob)")
    connection.execute(FILL.format(rows, 700))
    return connection


def shell(side, command):
    result = subprocess.run(
        ["bash", "-c", command], cwd=side.directory, capture_output=True, text=True, timeout=60
    )
    side.note(command, result.returncode, result.stderr)


def check(side, name="a.db"):
    """What a new client sees, and that the replica has it."""
    connection = side.open(name)
    rows = side.run(connection, COUNT)
    side.run(connection, "pragma integrity_check")
    side.reached(name, COUNT, rows)
    side.run(connection, "insert into t(b) values(zeroblob(11))")
    side.reached(name, COUNT, connection.execute(COUNT).fetchall())
    connection.close()


def absent(side, name):
    """The replica has no such database any more."""
    side.reached(name, "select 1", "unable to open database file")


def moved_over(side):
    """rename(2) over a database, with a reader and a writer that have the old one open."""
    for mode in MODES:
        prepare(side, "new.db", mode, 30, 8192).close()
        prepare(side, "a.db", mode).close()
        reader = side.open("a.db")
        side.run(reader, "begin")
        side.run(reader, COUNT)
        shell(side, "mv new.db a.db")
        side.run(reader, COUNT)
        side.run(reader, "commit")
        reader.close()
        check(side)
        shell(side, "rm a.db")
        absent(side, "a.db")


def moved_from_outside(side):
    """`mv` from another file system: a copy under the name, after the old file was removed."""
    for mode in MODES:
        prepare(side, "a.db", mode).close()
        with tempfile.TemporaryDirectory() as outside:
            moved = os.path.join(outside, "a.db")
            shutil.copy(side.path("a.db"), moved)
            connection = sqlite3.connect(moved, isolation_level=None)
            side.run(connection, FILL.format(10, 33))
            connection.close()
            shutil.move(moved, side.path("a.db"))
        check(side)
        shell(side, "cp a.db b.db; mv b.db a.db")
        check(side)


def copied(side):
    """`cp` into a new name, over an existing database, and over one of another page size."""
    for mode in MODES:
        prepare(side, "large.db", mode, 200, 1024).close()
        prepare(side, "small.db", mode, 5, 4096).close()
        shell(side, "cp large.db a.db")
        check(side)
        shell(side, "cp small.db a.db")
        check(side)
        shell(side, "cp large.db a.db")
        check(side)
        shell(side, "cat small.db > a.db")
        check(side)


def copied_over_other_mode(side):
    """The file that is copied over a database is of the other journal mode."""
    prepare(side, "wal.db", "wal", 100).close()
    prepare(side, "delete.db", "delete", 50).close()
    for name in ["wal.db", "delete.db", "wal.db"]:
        shell(side, f"cp {name} a.db")
        check(side)


def copied_over_open(side):
    """`cp` over a database that has connections, and whose write-ahead log is in the main file."""
    for mode in MODES:
        prepare(side, "other.db", "delete", 7).close()
        connection = prepare(side, "a.db", mode, 30)
        side.run(connection, "pragma wal_checkpoint(truncate)")
        shell(side, "cp other.db a.db")
        side.run(connection, "pragma integrity_check")
        connection.close()
        check(side)


def copied_with_log(side):
    """Database and write-ahead log copied together, in both orders."""

    def killed():
        inner = prepare(side, "live.db", "wal", 10)
        inner.execute("pragma wal_checkpoint(truncate)")
        inner.execute(FILL.format(15, 900))

    side.child(killed)
    shell(side, "cp live.db a.db; cp live.db-wal a.db-wal")
    check(side)
    shell(side, "rm live.db live.db-wal live.db-shm")
    side.child(killed)
    shell(side, "cp live.db-wal b.db-wal; cp live.db b.db")
    check(side, "b.db")
    # Into a directory, as a backup is put back.
    shell(side, "rm live.db live.db-wal live.db-shm")
    side.child(killed)
    shell(side, "mkdir back; cp live.db live.db-wal back/")
    check(side, "back/live.db")
    shell(side, "rm live.db live.db-wal live.db-shm")
    side.child(killed)
    shell(side, "mkdir tar; tar c live.db live.db-wal | tar x -C tar")
    check(side, "tar/live.db")


def overwritten(side):
    """`dd` into a database, and its bytes written from a program."""
    for mode in MODES:
        prepare(side, "other.db", mode, 9).close()
        prepare(side, "a.db", mode, 9).close()
        connection = side.open("other.db")
        side.run(connection, "update t set b = zeroblob(650)")
        connection.close()
        shell(side, "dd if=other.db of=a.db bs=4096 conv=notrunc status=none")
        check(side)
        shell(side, "dd if=other.db of=a.db bs=512 status=none")
        check(side)
        shell(side, "rm other.db")


def serialized(side):
    """What `serialize` gives, written as a file."""
    for mode in MODES:
        connection = sqlite3.connect(":memory:", isolation_level=None)
        connection.execute("create table t(a integer primary key, b blob)")
        connection.execute(FILL.format(40, 800))
        image = bytearray(connection.serialize())
        connection.close()
        if mode == "wal":
            image[18] = image[19] = 2
        for _ in range(2):
            with open(side.path("a.db"), "wb") as file:
                file.write(image)
            check(side)
            with open(side.path("a.db"), "r+b", buffering=0) as file:
                for at in range(0, len(image), 1000):
                    file.write(image[at : at + 1000])
                file.truncate()
            check(side)


def cut(side):
    """`truncate` to nothing and to fewer pages; the empty file becomes a database again."""
    for mode in MODES:
        prepare(side, "a.db", mode, 50).close()
        shell(side, "truncate -s 0 a.db")
        side.reached("a.db", "pragma page_count", [(0,)])
        connection = side.open("a.db")
        side.run(connection, "pragma page_count")
        connection.close()
        prepare(side, "a.db", mode, 10, 1024).close()
        check(side)
        shell(side, "truncate -s 8192 a.db")
        connection = side.open("a.db")
        side.run(connection, COUNT)
        connection.close()
        shell(side, "truncate -s 0 a.db")
        prepare(side, "a.db", mode, 3).close()
        check(side)


def removed(side):
    """A database removed under its companions, and made again with another page size."""
    for number, mode in enumerate(MODES + ["persist"]):

        def killed():
            inner = prepare(side, "a.db", mode, 50, 1024)
            inner.execute("pragma cache_size=5")
            inner.execute("begin")
            inner.execute("update t set b = zeroblob(400)")

        side.child(killed)
        if mode == "wal":
            side.note("left", os.path.exists(side.path("a.db-wal")))
        shell(side, "rm a.db")
        absent(side, "a.db")
        connection = prepare(side, "a.db", mode, 5 + number, 8192)
        side.reached("a.db", COUNT, side.run(connection, COUNT))
        connection.close()
        check(side)
        shell(side, "rm -f a.db a.db-journal")


def log_removed(side):
    """`rm` of a write-ahead log that holds transactions: the database goes back to before."""

    def killed():
        inner = prepare(side, "a.db", "wal", 10)
        inner.execute("pragma wal_checkpoint(truncate)")
        inner.execute(FILL.format(15, 900))
        side.reached("a.db", COUNT, inner.execute(COUNT).fetchall())

    for command in ["rm a.db-wal a.db-shm", "truncate -s 0 a.db-wal"]:
        side.child(killed)
        shell(side, command)
        check(side)
        shell(side, "rm a.db")


def removed_while_open(side):
    """A client goes on with a database that was removed; another is made under the name."""
    for mode in MODES:
        connection = prepare(side, "a.db", mode, 10)
        shell(side, "rm -f a.db a.db-wal a.db-shm")
        side.run(connection, "insert into t(b) values(zeroblob(5))")
        side.run(connection, COUNT)
        connection.close()
        absent(side, "a.db")
        prepare(side, "a.db", mode, 4).close()
        check(side)
        shell(side, "rm a.db")


def empty(side):
    """Files of no bytes: opened, read, removed, and filled by SQLite or by a copy."""
    shell(side, "touch a.db b.db c.db d.db")
    for name in ["a.db", "b.db"]:
        connection = side.open(name)
        side.run(connection, "select * from sqlite_master")
        side.run(connection, "pragma journal_mode")
        connection.close()
    prepare(side, "a.db", "wal").close()
    check(side)
    prepare(side, "d.db", "delete").close()
    check(side, "d.db")
    shell(side, "cp a.db b.db; rm c.db")
    check(side, "b.db")
    connection = side.open("vacuumed.db")
    side.run(connection, "vacuum")
    side.run(connection, "pragma page_count")
    connection.close()


def text(side):
    """A text becomes a database."""
    shell(side, "echo hello > a.db")
    connection = side.open("a.db")
    side.run(connection, "select * from sqlite_master")
    connection.close()
    prepare(side, "good.db", "delete").close()
    shell(side, "cp good.db a.db")
    check(side)


def copy_dies(side):
    """`cp` killed half-way: a file cut short is what it is, here and there."""
    prepare(side, "large.db", "delete", 300).close()
    prepare(side, "a.db", "delete", 10).close()

    def half():
        with open(side.path("large.db"), "rb") as source, open(side.path("a.db"), "wb") as file:
            file.write(source.read(81920))
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    side.child(half)
    connection = side.open("a.db")
    side.run(connection, COUNT)
    connection.close()
    shutil.copy(side.path("large.db"), side.path("a.db"))
    check(side)


WAYS = [
    moved_over, moved_from_outside, copied, copied_over_other_mode, copied_over_open,
    copied_with_log, overwritten, serialized, cut, removed, log_removed, removed_while_open, empty,
    text, copy_dies,
]  # fmt: skip

if __name__ == "__main__":
    main({body.__name__.replace("_", "-"): body for body in WAYS})

#!/usr/bin/env python3
"""Looks at rollback journals through a mount as a program does, and takes their names.

usage: journals.py MOUNT DATA

DATA is the node's data directory. Ends with 0 where a journal is there during a transaction and at no other time.
"""

import os
import sqlite3
import sys

MOUNT, DATA = sys.argv[1:3]
os.chdir(MOUNT)


def connect(path):
    connection = sqlite3.connect(path, isolation_level=None, timeout=20)
    connection.execute("pragma journal_mode=delete").fetchall()
    connection.execute("create table if not exists t(a)")
    return connection


def commit(connection):
    connection.execute("insert into t values(1)")


def expect(what, found, wanted):
    if found != wanted:
        sys.exit(f"{what}: {found!r} instead of {wanted!r}")


def expect_absent(path):
    for call in (os.stat, os.unlink, open, lambda name: os.rename(name, "elsewhere")):
        try:
            call(path)
        except FileNotFoundError:
            continue
        sys.exit(f"{path} is there for {call}")


a = connect("a.db")
commit(a)
expect("kept on the disk", os.path.exists(f"{DATA}/files/a.db-journal"), True)
expect("listing", os.listdir("."), ["a.db"])
expect_absent("a.db-journal")

# In a transaction there is one, as long as it is.
a.execute("begin")
a.execute("insert into t values(2)")
expect("listing in a transaction", sorted(os.listdir(".")), ["a.db", "a.db-journal"])
size = os.stat("a.db-journal").st_size
with open("a.db-journal", "rb") as journal:
    expect("length", len(journal.read()), size)
    expect("end", os.lseek(journal.fileno(), 0, os.SEEK_END), size)
    a.execute("commit")
    expect("a journal that is over", os.pread(journal.fileno(), 10, 0), b"")
expect_absent("a.db-journal")

# Others may have the name.
os.mkdir("a.db-journal")
os.rmdir("a.db-journal")
commit(a)
os.symlink("a.db", "a.db-journal")
os.unlink("a.db-journal")
commit(a)
with open("note", "w") as note:
    note.write("text")
os.rename("note", "a.db-journal")
expect("another file", open("a.db-journal").read(), "text")
os.unlink("a.db-journal")
commit(a)

# A second name of a journal keeps what that was.
a.execute("begin")
a.execute("insert into t values(3)")
os.link("a.db-journal", "copy")
a.execute("commit")
with open("copy", "rb") as copy:
    content = copy.read()
expect("a second name", content[:8], b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7")
commit(a)
with open("copy", "rb") as copy:
    expect("a second name, later", copy.read(), content)
os.unlink("copy")
expect_absent("a.db-journal")

# A database takes nothing along, and a directory can be removed.
a.close()
os.rename("a.db", "b.db")
expect("after a rename", os.listdir("."), ["b.db"])
b = connect("b.db")
commit(b)
os.mkdir("d")
d = connect("d/d.db")
commit(d)
d.close()
os.rename("d", "e")
expect("a renamed directory", os.listdir("e"), ["d.db"])
d = connect("e/d.db")
commit(d)
d.close()
os.unlink("e/d.db")
os.rmdir("e")
expect("rows", b.execute("select count(*) from t").fetchone()[0], 8)
expect("integrity", b.execute("pragma integrity_check").fetchall(), [("ok",)])

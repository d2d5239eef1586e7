#!/usr/bin/env python3
"""Says whether two nodes hold the same databases, and the same as SQLite sees on the primary.

usage: compare.py SECONDS PRIMARY-MOUNT PRIMARY-PORT REPLICA-MOUNT REPLICA-PORT [LOCK-BYTE]

LOCK-BYTE is where SQLite's lock bytes are, if not at 1 GiB: the page there holds no data.

Exits with 0 and prints how many databases there are, or with 1 and prints what is wrong. A process
of its own, since whoever looks at a mount must be one that can be ended.
"""

import io
import json
import os
import sqlite3
import sys
import tempfile
import time
import urllib.request

MAGIC = b"SQLite format 3\0"
SUFFIXES = ("-journal", "-wal", "-shm", "-pos")
# Bytes of a database that is not compared in memory.
LARGE = 64 << 20


def databases(port):
    """Position and problem of each database of a node, by name."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=10) as answer:
        status = json.load(answer)
    found = {
        entry["name"]: (
            entry["txid"], entry["checksum"], entry.get("problem"),
            entry["pages"], entry["page_size"],
        )
        for entry in status["databases"]
    }
    return found, status["waiting"]


def look(path, deadline, use):
    """What `use` makes of a connection and the database's size in bytes, as SQLite sees it.

    None where SQLite calls the database damaged.
    """
    while True:
        connection = sqlite3.connect(path, timeout=5)
        try:
            connection.execute("begin")
            connection.execute("select count(*) from sqlite_master").fetchone()
            (pages,) = connection.execute("pragma page_count").fetchone()
            (size,) = connection.execute("pragma page_size").fetchone()
            return use(connection, pages * size)
        except sqlite3.OperationalError as error:
            if "locked" in str(error) and time.monotonic() < deadline:
                continue
            return None
        except (sqlite3.DatabaseError, MemoryError):
            return None
        finally:
            connection.close()


def has_content(_, size):
    return size > 0


def content(connection, size):
    """A stream of the database's bytes; of one too large for the memory, a file without a name."""
    if size <= LARGE:
        return io.BytesIO(connection.serialize() if size else b"")
    with tempfile.NamedTemporaryFile() as file:
        target = sqlite3.connect(file.name)
        target.execute("pragma synchronous=off").fetchone()
        target.execute("pragma journal_mode=off").fetchone()
        connection.backup(target)
        target.close()
        return open(file.name, "rb")


def raw(path, size):
    """A file's bytes as far as the database goes; zeros where it ends in the midst of a page."""
    with open(path, "rb") as file:
        return io.BytesIO(file.read(size).ljust(size, b"\0"))


def differing_pages(ours, theirs, size, skipped):
    """Numbers of pages that differ, but for one of which there may be anything in the file."""
    number = 0
    while True:
        number += 1
        pages = ours.read(size), theirs.read(size)
        if pages == (b"", b""):
            return
        if pages[0] != pages[1] and number != skipped:
            yield number


def files_that_are_databases(mount):
    for folder, _, names in os.walk(mount):
        for name in names:
            path = os.path.join(folder, name)
            if name.endswith(SUFFIXES) or os.path.islink(path) or not os.path.isfile(path):
                continue
            with open(path, "rb") as file:
                if file.read(len(MAGIC)) == MAGIC:
                    yield os.path.relpath(path, mount)


def same_positions(ports, deadline):
    while True:
        (ours, waiting), (theirs, waiting_there) = (databases(port) for port in ports)
        if ours == theirs and not waiting and not waiting_there:
            return ours
        if time.monotonic() > deadline:
            lines = [
                f"{name}: primary {ours.get(name)}, replica {theirs.get(name)}"
                for name in sorted(set(ours) | set(theirs)) if ours.get(name) != theirs.get(name)
            ]
            sys.exit("\n".join(lines + waiting + waiting_there))
        time.sleep(0.02)


def main():
    deadline = time.monotonic() + float(sys.argv[1])
    mounts, ports = (sys.argv[2], sys.argv[4]), (sys.argv[3], sys.argv[5])
    lock_byte = int(sys.argv[6]) if len(sys.argv) > 6 else 0
    # The first look may play back a journal or recover a log that a test left.
    candidates = list(files_that_are_databases(mounts[0]))
    for name in candidates:
        look(os.path.join(mounts[0], name), deadline, has_content)
    known = same_positions(ports, deadline)
    wrong = []
    for name, (_, _, problem, pages, page_size) in sorted(known.items()):
        if problem:
            wrong.append(f"{name}: {problem}")
            continue
        paths = [os.path.join(mount, name) for mount in mounts]
        ours, theirs = (look(path, deadline, content) for path in paths)
        if ours is None and theirs is None:
            ours, theirs = (raw(path, pages * page_size) for path in paths)
        if ours is None or theirs is None:
            wrong.append(f"{name}: damaged on the {'primary' if ours is None else 'replica'} alone")
            continue
        skipped = lock_byte // page_size + 1 if lock_byte else 0
        different = list(differing_pages(ours, theirs, page_size, skipped))
        if different:
            wrong.append(f"{name}: {len(different)} of {pages} pages differ: {different[:8]}")
    for name in candidates:
        if name not in known and look(os.path.join(mounts[0], name), deadline, has_content):
            wrong.append(f"{name}: a database that is not replicated")
    if wrong:
        sys.exit("\n".join(wrong))
    print(len(known))


main()

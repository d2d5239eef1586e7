#!/usr/bin/env python3
"""Waits until databases stand at the same position on several mounts, then compares their bytes.

usage: same_bytes.py SECONDS NAME MOUNT MOUNT...

The bytes are those a reader sees (main file and write-ahead log), taken in one read transaction
whose position is known because it did not change around it. Exits with 0, or with 1 and a reason.
"""

import os
import sqlite3
import sys
import time


def position(mount, name):
    try:
        with open(os.path.join(mount, name + "-pos")) as file:
            return file.read().strip()
    except FileNotFoundError:
        return None


def read(mount, name, deadline):
    """The bytes of a database and the position they belong to."""
    while True:
        before = position(mount, name)
        connection = sqlite3.connect(os.path.join(mount, name), timeout=20)
        try:
            connection.execute("begin")
            connection.execute("select count(*) from sqlite_master").fetchone()
            (pages,) = connection.execute("pragma page_count").fetchone()
            # An emptied database has a position and no bytes.
            data = connection.serialize() if pages else b""
            (verdict,) = connection.execute("pragma integrity_check").fetchone()
        except sqlite3.OperationalError as error:
            # A database in rollback mode is locked while a transaction is applied to it.
            if time.monotonic() > deadline:
                sys.exit(f"{mount}/{name}: {error}")
            continue
        finally:
            connection.close()
        if verdict != "ok":
            sys.exit(f"{mount}/{name}: integrity_check says {verdict}")
        if before is not None and position(mount, name) == before:
            return before, data
        if time.monotonic() > deadline:
            sys.exit(f"{mount}/{name} did not come to rest")


def main():
    deadline = time.monotonic() + float(sys.argv[1])
    name, mounts = sys.argv[2], sys.argv[3:]
    while len({position(mount, name) for mount in mounts}) != 1:
        if time.monotonic() > deadline:
            sys.exit(f"{name}: positions are {[position(mount, name) for mount in mounts]}")
        time.sleep(0.005)
    if position(mounts[0], name) is None:
        # Killed before its first transaction: then nobody may have the database.
        if any(os.path.getsize(os.path.join(mount, name)) for mount in mounts
               if os.path.exists(os.path.join(mount, name))):
            sys.exit(f"{name} has content and no position")
        return
    copies = [read(mount, name, deadline) for mount in mounts]
    if len({copy[0] for copy in copies}) != 1:
        sys.exit(f"{name}: positions moved: {[copy[0] for copy in copies]}")
    for mount, copy in zip(mounts[1:], copies[1:]):
        if copy[1] == copies[0][1]:
            continue
        first = next(
            (at for at, (a, b) in enumerate(zip(copies[0][1], copy[1])) if a != b), "the end"
        )
        sizes = (len(copies[0][1]), len(copy[1]))
        sys.exit(f"{name} at {copy[0]}: {mount} differs from byte {first}, sizes {sizes}")


if __name__ == "__main__":
    main()

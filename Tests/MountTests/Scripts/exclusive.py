#!/usr/bin/env python3
"""Keeps a database to itself, with a transaction half written at first, until a replica has it.

usage: exclusive.py DATABASE REPLICA

Exits with 0 when the replica shows every transaction although the lock is still held.
"""

import sqlite3
import sys
import time


def main():
    path, replica = sys.argv[1:3]
    connection = sqlite3.connect(path, isolation_level=None, timeout=20)
    connection.execute("pragma locking_mode=exclusive")
    connection.execute("pragma cache_size=4")
    deadline = time.monotonic() + 40
    number = 0
    while time.monotonic() < deadline:
        number += 1
        connection.execute("begin immediate")
        connection.execute("update t set b = zeroblob(300000)")
        connection.execute("insert into t(b) values(zeroblob(100000))")
        connection.execute("commit")
        expected = connection.execute("select count(*) from t").fetchone()
        # In the meantime nothing is written: the replica must come to this.
        until = time.monotonic() + 2
        while time.monotonic() < until:
            try:
                reader = sqlite3.connect(f"file:{replica}?mode=ro", uri=True)
                found = reader.execute("select count(*) from t").fetchone()
                reader.close()
                if found == expected:
                    return
            except sqlite3.Error:
                pass
            time.sleep(0.01)
    sys.exit(f"after {number} transactions the replica does not have them")


main()

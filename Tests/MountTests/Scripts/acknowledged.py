#!/usr/bin/env python3
"""Writes numbered transactions until it is killed or an error ends it, and notes each that SQLite
acknowledged in a file outside the mount.

usage: acknowledged.py write DATABASE MODE NOTES SEED
       acknowledged.py check DATABASE NOTES

`check` verifies that the database is intact, that every acknowledged transaction is in it, and that
no number is missing before the last one: it stands at the end of some transaction.
"""

import os
import random
import sqlite3
import sys


def write(path, mode, notes, seed):
    chance = random.Random(seed)
    connection = sqlite3.connect(path, isolation_level=None, timeout=20)
    connection.execute(f"pragma journal_mode={mode}")
    connection.execute(f"pragma synchronous={chance.choice(['normal', 'full'])}")
    connection.execute("pragma cache_size=10")
    connection.execute("create table if not exists n(i integer primary key, part integer, b blob)")
    (last,) = connection.execute("select coalesce(max(i), 0) / 100 from n").fetchone()
    with open(notes, "a", buffering=1) as file:
        while True:
            last += 1
            parts = chance.choice([1, 1, 2, 20])
            connection.execute("begin immediate")
            for part in range(parts):
                size = chance.choice([10, 100, 3000])
                connection.execute(
                    "insert into n values(?, ?, randomblob(?))", (last * 100 + part, parts, size)
                )
            if chance.random() < 0.2:
                connection.execute("delete from n where i < ?", ((last - 200) * 100,))
            connection.execute("commit")
            file.write(f"{last}\n")


def check(path, notes):
    connection = sqlite3.connect(path, timeout=20)
    (verdict,) = connection.execute("pragma integrity_check").fetchone()
    if verdict != "ok":
        sys.exit(f"integrity_check says {verdict}")
    told = 0
    if os.path.exists(notes):
        lines = open(notes).read().split("\n")
        told = max([int(line) for line in lines[:-1]], default=0)
    try:
        rows = connection.execute("select i / 100, count(*), max(part) from n group by 1").fetchall()
    except sqlite3.OperationalError as error:
        rows = []
        if told:
            sys.exit(f"{told} transactions were acknowledged, and there is no table: {error}")
    numbers = [row[0] for row in rows]
    for number, count, parts in rows:
        if count != parts:
            sys.exit(f"transaction {number} has {count} of {parts} rows")
    if numbers and numbers != list(range(numbers[0], numbers[-1] + 1)):
        sys.exit(f"numbers are missing among {numbers}")
    if told > (numbers[-1] if numbers else 0):
        sys.exit(f"{told} was acknowledged, the database ends at {numbers[-1:]}")
    print(f"{told} acknowledged, {numbers[-1] if numbers else 0} present")


if sys.argv[1] == "write":
    write(*sys.argv[2:6])
else:
    check(*sys.argv[2:4])

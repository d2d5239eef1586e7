#!/usr/bin/env python3
"""Runs the same random statements on a mount and on a plain directory and compares the content.

usage: statements.py MOUNT PLAIN NAME MODE PAGE_SIZE SEED COUNT

Every statement comes from SEED, so that a failure can be repeated. Transactions are large enough
to spill the cache, have savepoints and rollbacks, and now and then vacuum the database or switch
its journal mode. Exits with 0 when both sides agree and are intact, else with 1 and a reason.
"""

import hashlib
import os
import random
import sqlite3
import sys


def connect(path):
    connection = sqlite3.connect(path, isolation_level=None, timeout=20)
    connection.execute("pragma cache_size=20")
    return connection


def statements(seed, mode, page_size, count):
    """Yields groups of statements; a group is one transaction or one statement alone."""
    chance = random.Random(seed)
    yield [f"pragma page_size={page_size}"]
    yield [f"pragma auto_vacuum={chance.choice(['none', 'full', 'incremental'])}"]
    yield [f"pragma journal_mode={mode}"]
    yield [f"pragma synchronous={chance.choice(['off', 'normal', 'full'])}"]
    yield ["create table t0(a integer primary key, b blob, c text)", "create index i0 on t0(c)"]
    tables = 1
    for _ in range(count):
        kind = chance.random()
        if kind < 0.02:
            yield ["vacuum"]
        elif kind < 0.04:
            yield ["pragma incremental_vacuum(3)"]
        elif kind < 0.06 and mode != "wal":
            yield [f"pragma journal_mode={chance.choice(['delete', 'truncate', 'persist'])}"]
        elif kind < 0.08:
            other = chance.choice(["wal", "delete", "truncate", "persist"])
            yield [f"pragma journal_mode={other}"]
        elif kind < 0.12:
            table = f"t{tables}"
            tables += 1
            yield [f"create table {table}(a integer primary key, b blob, c text)"]
        elif kind < 0.16 and tables > 1:
            yield [f"drop table if exists t{chance.randrange(1, tables)}"]
        else:
            yield list(transaction(chance, tables))


def transaction(chance, tables):
    yield "begin" if chance.random() < 0.5 else "begin immediate"
    for _ in range(chance.choice([1, 1, 1, 2, 5, 30])):
        table = f"t{chance.randrange(tables)}" if chance.random() < 0.3 else "t0"
        size = chance.choice([10, 10, 100, 100, 1000, 5000, 40000])
        kind = chance.random()
        if kind < 0.5:
            # randomblob would differ between the two sides.
            text = chance.randrange(1 << 30)
            yield (
                f"insert into {table}(b, c) values(zeroblob({size}), "
                f"'{text:x}' || hex(zeroblob({size // 8})))"
            )
        elif kind < 0.7:
            yield f"update {table} set c = c || '{chance.randrange(1 << 20)}' where a % 7 = {chance.randrange(7)}"
        elif kind < 0.85:
            yield f"delete from {table} where a % 5 = {chance.randrange(5)}"
        elif kind < 0.92:
            yield "savepoint s"
            yield f"update {table} set b = zeroblob({size}) where a % 3 = 0"
            yield "rollback to s" if chance.random() < 0.5 else "release s"
        else:
            yield f"delete from {table}"
    yield "rollback" if chance.random() < 0.2 else "commit"


def run(connection, group):
    """Runs a group and returns what it led to, so that both sides can be compared."""
    outcome = []
    for statement in group:
        try:
            outcome.append(len(connection.execute(statement).fetchall()))
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error) and "no such savepoint" not in str(error):
                raise RuntimeError(f"{statement}: {error}") from error
            outcome.append(str(error))
    return outcome


def content(connection):
    digest = hashlib.sha256()
    for line in connection.iterdump():
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def main():
    mount, plain, name, mode, page_size, seed, count = sys.argv[1:8]
    sides = [connect(os.path.join(directory, name)) for directory in (mount, plain)]
    for number, group in enumerate(statements(seed, mode, page_size, int(count))):
        outcomes = [run(side, group) for side in sides]
        if outcomes[0] != outcomes[1]:
            sys.exit(f"seed {seed}: group {number} {group[:3]} gave {outcomes}")
    contents = [content(side) for side in sides]
    if contents[0] != contents[1]:
        sys.exit(f"seed {seed}: the content differs")
    for side in sides:
        (verdict,) = side.execute("pragma integrity_check").fetchone()
        if verdict != "ok":
            sys.exit(f"seed {seed}: integrity_check says {verdict}")
        side.close()


main()

#!/usr/bin/env python3
"""Kills writers of one database at random moments, many times, while others go on writing it.

usage: kills.py DATABASE MODE KILLS SEED

Whoever is killed is followed by another with the same number. A writer notes in shared memory what
SQLite acknowledged, so that the note is there however it ended. Every hundred kills all are killed
at once, and the database must be intact, hold every acknowledged transaction of each writer, each
of them whole, and none missing before a later one.
"""

import mmap
import os
import random
import signal
import sqlite3
import struct
import sys
import time

WRITERS = 3
KEEP = 60
# A writer that commits nothing in so many seconds is stuck.
PATIENCE = 60


def connect(path):
    return sqlite3.connect(path, isolation_level=None, timeout=PATIENCE)


def write(path, mode, writer, seed, notes):
    chance = random.Random(seed)
    connection = connect(path)
    connection.execute(f"pragma journal_mode={mode}")
    connection.execute(f"pragma synchronous={chance.choice(['normal', 'full'])}")
    connection.execute("pragma cache_size=10")
    (last,) = connection.execute(
        "select coalesce(max(number), 0) from n where writer = ?", (writer,)
    ).fetchone()
    # The one before may have been killed between the commit and the note.
    struct.pack_into("<Q", notes, 8 * writer, last)
    while True:
        last += 1
        parts = chance.choice([1, 1, 2, 15])
        connection.execute("begin immediate")
        for part in range(parts):
            connection.execute(
                "insert into n values(?, ?, ?, ?, randomblob(?))",
                (writer, last, part, parts, chance.choice([10, 100, 3000])),
            )
        connection.execute("delete from n where writer = ? and number < ?", (writer, last - KEEP))
        connection.execute("commit")
        struct.pack_into("<Q", notes, 8 * writer, last)


def check(path, notes):
    connection = connect(path)
    (verdict,) = connection.execute("pragma integrity_check").fetchone()
    if verdict != "ok":
        return f"integrity_check says {verdict}"
    for writer in range(WRITERS):
        (told,) = struct.unpack_from("<Q", notes, 8 * writer)
        rows = connection.execute(
            "select number, count(*), max(parts) from n where writer = ? group by 1", (writer,)
        ).fetchall()
        numbers = [row[0] for row in rows]
        if any(count != parts for _, count, parts in rows):
            return f"writer {writer} has half a transaction among {rows}"
        if numbers and numbers != list(range(numbers[0], numbers[-1] + 1)):
            return f"writer {writer}: numbers are missing among {numbers}"
        last = numbers[-1] if numbers else 0
        if not told <= last <= told + 1:
            return f"writer {writer} was told {told}, the database ends at {last}"
    return None


def child(body):
    """Runs in a process of its own: a connection must never be carried over a fork."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            problem = body()
            if problem:
                print(problem, file=sys.stderr, flush=True)
            else:
                code = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    return pid


def prepare(path, mode):
    connection = connect(path)
    connection.execute(f"pragma journal_mode={mode}")
    connection.execute(
        "create table if not exists n(writer, number, part, parts, b blob, "
        "primary key(writer, number, part))"
    )


def end(pid):
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if not os.WIFSIGNALED(status):
        sys.exit(f"a writer ended by itself with {status}")


def main():
    writers = {}
    try:
        attack(writers, *sys.argv[1:3], *map(int, sys.argv[3:5]))
    finally:
        # Nobody goes on writing after a failure.
        for pid in writers.values():
            os.kill(pid, signal.SIGKILL)


def attack(writers, path, mode, kills, seed):
    chance = random.Random(seed)
    notes = mmap.mmap(-1, 8 * WRITERS)
    _, status = os.waitpid(child(lambda: prepare(path, mode)), 0)
    if status != 0:
        sys.exit("the table could not be made")

    def start(writer):
        number = chance.randrange(1 << 30)
        return child(lambda: write(path, mode, writer, number, notes))

    done = 0
    heard, heard_at = b"", time.monotonic()
    while done < kills:
        for writer in range(WRITERS):
            if writer not in writers:
                writers[writer] = start(writer)
        time.sleep(0.03 * chance.random() ** 2)
        writer = chance.randrange(WRITERS)
        end(writers.pop(writer))
        done += 1
        if notes[:] != heard:
            heard, heard_at = notes[:], time.monotonic()
        if time.monotonic() - heard_at > PATIENCE:
            sys.exit(f"nothing was committed for {PATIENCE} s, after {done} kills")
        if done % 100 == 0 or done >= kills:
            while writers:
                end(writers.popitem()[1])
                done += 1
            _, status = os.waitpid(child(lambda: check(path, notes)), 0)
            if status != 0:
                sys.exit(f"after {done} kills, {mode}, seed {seed}")
    told = sum(struct.unpack(f"<{WRITERS}Q", notes[:]))
    print(f"{done} kills, {told} transactions acknowledged")


main()

#!/usr/bin/env python3
"""Several processes write one database while others read it, on the primary and on a replica.

usage: processes.py PRIMARY REPLICA NAME MODE WRITERS READERS SECONDS

Every transaction moves an amount between two rows, so that the sum never changes: a reader that
sees another sum has seen half of a transaction. Each writer also counts its own transactions, and in
the end the counts must be what the writers were told had been committed.
"""

import multiprocessing
import os
import random
import sqlite3
import sys
import time

ROWS, SUM = 20, 20 * 100


def connect(directory, name):
    return sqlite3.connect(os.path.join(directory, name), isolation_level=None, timeout=20)


def write(directory, name, number, seconds, done):
    chance = random.Random(number)
    connection = connect(directory, name)
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        amount = chance.randrange(1, 10)
        first, second = chance.sample(range(ROWS), 2)
        connection.execute("begin immediate")
        connection.execute("update account set amount = amount - ? where id = ?", (amount, first))
        connection.execute("update account set amount = amount + ? where id = ?", (amount, second))
        connection.execute("update writer set count = count + 1 where id = ?", (number,))
        if chance.random() < 0.1:
            connection.execute("rollback")
        else:
            connection.execute("commit")
            count += 1
    connection.close()
    done.put((number, count))


def read(directory, name, seconds, problems):
    connection = connect(directory, name)
    end = time.monotonic() + seconds
    last = 0
    reads = 0
    while time.monotonic() < end:
        total, count = connection.execute(
            "select (select sum(amount) from account), (select sum(count) from writer)"
        ).fetchone()
        if total != SUM:
            problems.put(f"{directory}: the sum is {total}")
            return
        if count < last:
            problems.put(f"{directory}: reads went back from {last} to {count}")
            return
        last = count
        reads += 1
    if reads == 0:
        problems.put(f"{directory}: no read succeeded")
    connection.close()


def main():
    primary, replica, name, mode = sys.argv[1:5]
    writers, readers, seconds = (int(argument) for argument in sys.argv[5:8])
    connection = connect(primary, name)
    connection.execute(f"pragma journal_mode={mode}")
    connection.execute("begin")
    connection.execute("create table account(id integer primary key, amount)")
    connection.execute("create table writer(id integer primary key, count)")
    connection.executemany("insert into account values(?, 100)", [(k,) for k in range(ROWS)])
    connection.executemany("insert into writer values(?, 0)", [(k,) for k in range(writers)])
    connection.execute("commit")
    connection.close()
    while not os.path.exists(os.path.join(replica, name + "-pos")):
        time.sleep(0.01)
    done, problems = multiprocessing.Queue(), multiprocessing.Queue()
    processes = [
        multiprocessing.Process(target=write, args=(primary, name, number, seconds, done))
        for number in range(writers)
    ]
    for directory in (primary, replica):
        for _ in range(readers):
            processes.append(
                multiprocessing.Process(target=read, args=(directory, name, seconds, problems))
            )
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if not problems.empty():
        sys.exit(problems.get())
    if any(process.exitcode for process in processes):
        sys.exit(f"a process failed: {[process.exitcode for process in processes]}")
    told = dict(done.get() for _ in range(writers))
    kept = dict(connect(primary, name).execute("select id, count from writer"))
    if told != kept:
        sys.exit(f"writers were told {told}, the database has {kept}")
    print(f"{sum(told.values())} transactions")


main()

#!/usr/bin/env python3
"""One reader holds a snapshot on a replica while thousands of transactions arrive; others must see
each of them soon.

usage: long_reader.py PRIMARY REPLICA SECONDS

Prints the number of transactions and the lag of the other readers in milliseconds: the time from
the return of COMMIT on the primary to the first read on the replica that sees it.
"""

import multiprocessing
import os
import sqlite3
import sys
import time

LIMIT = 1_000_000


def write(primary, committed, stop):
    connection = sqlite3.connect(os.path.join(primary, "l.db"), isolation_level=None)
    connection.execute("pragma synchronous=normal")
    for number in range(1, LIMIT):
        if stop.is_set():
            return
        connection.execute("insert into t values(?, randomblob(1000))", (number,))
        committed[number] = time.monotonic()
        time.sleep(0.002)


def main():
    primary, replica, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    writer = sqlite3.connect(os.path.join(primary, "l.db"), isolation_level=None)
    writer.execute("pragma journal_mode=wal")
    writer.execute("create table t(i integer primary key, b)")
    writer.execute("insert into t values(0, randomblob(1000))")
    path = os.path.join(replica, "l.db")
    deadline = time.monotonic() + 20
    while True:
        try:
            holder = sqlite3.connect(path, isolation_level=None)
            holder.execute("begin")
            before = holder.execute("select count(*), sum(length(b)), max(i) from t").fetchone()
            break
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    # By number, the moment COMMIT returned, on a clock that all processes of the machine share.
    committed = multiprocessing.Array("d", LIMIT, lock=False)
    stop = multiprocessing.Event()
    process = multiprocessing.Process(target=write, args=(primary, committed, stop))
    process.start()
    end = time.monotonic() + seconds
    reader = sqlite3.connect(path, isolation_level=None)
    lags, seen, checks = [], 0, 0
    while time.monotonic() < end:
        (last,) = reader.execute("select max(i) from t").fetchone()
        now = time.monotonic()
        if last < seen:
            sys.exit(f"reads went back from {seen} to {last}")
        if last > seen:
            # A transaction seen before COMMIT has returned to the writer has no lag.
            lags.extend(max(0.0, now - (committed[k] or now)) for k in range(seen + 1, last + 1))
            seen = last
        checks += 1
        if checks % 200 == 0:
            again = holder.execute("select count(*), sum(length(b)), max(i) from t").fetchone()
            if again != before:
                sys.exit(f"the held snapshot changed from {before} to {again}")
    stop.set()
    process.join()
    again = holder.execute("select count(*), sum(length(b)), max(i) from t").fetchone()
    if again != before:
        sys.exit(f"the held snapshot changed from {before} to {again}")
    holder.execute("commit")
    lags.sort()
    if not lags:
        sys.exit("no transaction arrived")
    p50, p99 = (1000 * lags[int(len(lags) * part)] for part in (0.5, 0.99))
    print(f"{sum(1 for moment in committed if moment)} {p50:.2f} {p99:.2f}")


main()

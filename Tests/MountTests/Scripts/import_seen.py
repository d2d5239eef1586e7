#!/usr/bin/env python3
"""Imports databases of changing size over one that others look at all the time.

usage: import_seen.py HALITE CONFIGURATION MOUNT DIRECTORY

Whoever reads meanwhile must find one of the databases, whole: neither the kernel nor the node may
tell it the size from before.
"""

import os
import sqlite3
import subprocess
import sys
import threading

NAME = "seen.db"
SIZES = [3, 900, 40, 2500]


def make(path, rows):
    connection = sqlite3.connect(path)
    connection.execute("create table t(a)")
    connection.executemany("insert into t values(?)", [("x" * 300,)] * rows)
    connection.commit()
    connection.close()


def look(path, over, problems):
    connection = sqlite3.connect(path, isolation_level=None)
    while not over.is_set():
        try:
            (size,) = connection.execute("select count(*) from t").fetchone()
            (verdict,) = connection.execute("pragma integrity_check").fetchone()
        except sqlite3.OperationalError as error:
            # An import waits for nobody, and does not have to.
            if "locked" not in str(error):
                problems.append(str(error))
            continue
        if size not in SIZES or verdict != "ok":
            problems.append(f"{size} rows, {verdict}")


def main():
    halite, configuration, mount, directory = sys.argv[1:5]
    sources = []
    for rows in SIZES:
        sources.append(f"{directory}/source{rows}.db")
        make(sources[-1], rows)

    def bring(source):
        for _ in range(2000):
            result = subprocess.run(
                [halite, "import", "--config", configuration, NAME, source],
                capture_output=True, text=True, timeout=30,
            )
            if "in use" not in result.stderr + result.stdout:
                break
        if result.returncode != 0:
            sys.exit(f"import: {result.stdout}{result.stderr}")

    path = f"{mount}/{NAME}"
    bring(sources[0])
    over, problems = threading.Event(), []
    reader = threading.Thread(target=look, args=(path, over, problems))
    reader.start()
    connection = sqlite3.connect(path, isolation_level=None, timeout=20)
    try:
        for _ in range(5):
            for rows, source in zip(SIZES, sources):
                bring(source)
                if os.stat(path).st_size != os.stat(source).st_size:
                    problems.append("another size than that of the file that was imported")
                found = connection.execute("select count(*) from t").fetchone()
                if found != (rows,):
                    problems.append(f"{found} rows where {rows} were imported")
    finally:
        over.set()
        reader.join()
    if problems:
        sys.exit("; ".join(sorted(set(problems))[:5]))


main()

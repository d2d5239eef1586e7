"""Writers on several mounts, which never see that another one is the primary.

usage: everywhere.py SECONDS DATABASE MOUNT...

Each inserts rows on one connection, with a busy timeout of five seconds, and reads what it wrote. Prints a JSON object:
how many rows each wrote, and the longest time that one took. Fails on any error of a writer, when one does not
find what it wrote, and when a row is missing on any mount in the end.
"""

import json
import sqlite3
import sys
import threading
import time

SECONDS, NAME, MOUNTS = float(sys.argv[1]), sys.argv[2], sys.argv[3:]
written = [0] * len(MOUNTS)
longest = [0.0] * len(MOUNTS)
failures = []


def write(node):
    connection = sqlite3.connect(f"{MOUNTS[node]}/{NAME}", timeout=5, isolation_level=None)
    end = time.monotonic() + SECONDS
    try:
        while time.monotonic() < end:
            begun = time.monotonic()
            connection.execute("INSERT INTO t VALUES (?, ?)", (node, written[node]))
            longest[node] = max(longest[node], time.monotonic() - begun)
            written[node] += 1
            count = connection.execute("SELECT count(*) FROM t WHERE node = ?", (node,)).fetchone()[0]
            if count != written[node]:
                failures.append(f"node {node + 1}: {written[node]} rows were written and {count} are there")
    except sqlite3.Error as error:
        failures.append(f"node {node + 1}: after {written[node]} rows and {time.monotonic() - begun:.3f} s: {error}")
    connection.close()


threads = [threading.Thread(target=write, args=(node,)) for node in range(len(MOUNTS))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
deadline = time.monotonic() + 20
for number, mount in enumerate(MOUNTS):
    while True:
        connection = sqlite3.connect(f"{mount}/{NAME}", timeout=10)
        rows = dict(connection.execute("SELECT node, count(DISTINCT x) FROM t GROUP BY node"))
        connection.close()
        if [rows.get(node, 0) for node in range(len(MOUNTS))] == written:
            break
        if time.monotonic() > deadline:
            failures.append(f"node {number + 1} has {rows}, {written} were written")
            break
        time.sleep(0.05)
print(json.dumps({"written": written, "longest": [round(value, 3) for value in longest]}))
for failure in failures:
    print(failure)
sys.exit(1 if failures else 0)

"""Writers on several mounts, each with one connection for as long as it runs.

usage: role_writers.py STOP DATABASE MOUNT...

Each inserts rows as fast as its node lets it until the file STOP is there. Prints how many each wrote; fails when a row
that was acknowledged is missing on any mount in the end, when a count ever went down on a connection, or when an error
was not one that says that the node is not the primary.
"""

import os
import sqlite3
import sys
import threading
import time

STOP, NAME, MOUNTS = sys.argv[1], sys.argv[2], sys.argv[3:]
REFUSALS = ("database is locked", "attempt to write a readonly database", "access permission denied")
acknowledged = [[] for _ in MOUNTS]
failures = []


def write(node):
    connection = sqlite3.connect(f"{MOUNTS[node]}/{NAME}", timeout=0, isolation_level=None)
    number, most = 0, 0
    while not os.path.exists(STOP):
        try:
            connection.execute("INSERT INTO t VALUES (?, ?)", (node, number))
            acknowledged[node].append(number)
            number += 1
        except sqlite3.OperationalError as error:
            if not any(text in str(error) for text in REFUSALS):
                failures.append(f"node {node + 1}: write: {error}")
            time.sleep(0.005)
        try:
            count = connection.execute("SELECT count(*) FROM t").fetchone()[0]
            if count < most:
                failures.append(f"node {node + 1}: {most} rows became {count}")
            most = count
        except sqlite3.OperationalError as error:
            # Busy for a moment while a transaction is being applied (rollback journal).
            if "database is locked" not in str(error):
                failures.append(f"node {node + 1}: read: {error}")
    connection.close()


threads = [threading.Thread(target=write, args=(node,)) for node in range(len(MOUNTS))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
deadline = time.monotonic() + 30
for mount in MOUNTS:
    while True:
        connection = sqlite3.connect(f"{mount}/{NAME}", timeout=10)
        rows = set(connection.execute("SELECT node, x FROM t"))
        connection.close()
        missing = [(n, x) for n, numbers in enumerate(acknowledged) for x in numbers if (n, x) not in rows]
        if not missing:
            break
        if time.monotonic() > deadline:
            failures.append(f"{mount}: {len(missing)} acknowledged rows are missing, as {missing[0]}")
            break
        time.sleep(0.05)
print("wrote", *[len(numbers) for numbers in acknowledged])
if sum(1 for numbers in acknowledged if numbers) < 2:
    failures.append("fewer than two nodes could write")
for failure in failures[:20]:
    print(failure)
sys.exit(1 if failures else 0)

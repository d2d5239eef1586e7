"""forwarding.py [HALITE] [commits|everywhere|reads …]: what writes from a replica, and linearizable reads, cost.

Three voters on this machine, `sync: quorum`, all on one disk. One-row commits (WAL, synchronous=NORMAL) on the primary and
on a replica alternate: of a replica that has to get the grant for each, and at a stretch. Then all three nodes write one
database without pause, and replicas with `reads: linearizable` read, one connection and sixteen.
"""

import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../shared"))
from measure import INSERT, Measurement
from nodes import die_with_parent

ROUNDS = 5
BURST = 1000
SINGLES = 60
SECONDS = 30
READERS = 16
READ_SECONDS = 5.0
EVERYWHERE = os.path.join(HERE, "../../Tests/MountTests/Scripts/everywhere.py")

SELECT = "SELECT x FROM t WHERE id = 1"


class Forwarding(Measurement):
    def connect(self, node, name):
        connection = sqlite3.connect(f"{node.mount}/{name}", timeout=20, isolation_level=None)
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection

    def replica(self, name):
        """One that has the table."""
        primary = self.primary()
        node = next(n for n in self.nodes if n is not primary)
        while True:
            try:
                self.connect(node, name).execute("SELECT count(*) FROM t").fetchone()
                return node
            except sqlite3.Error:
                time.sleep(0.05)

    def insert(self, connection):
        now = time.monotonic()
        connection.execute(INSERT)
        return time.monotonic() - now

    def commits(self):
        self.make("f.db")
        here, there = self.connect(self.primary(), "f.db"), self.connect(self.replica("f.db"), "f.db")
        own, taken, rates = [], [], []
        for _ in range(ROUNDS):
            self.insert(here)
            own += [self.insert(here) for _ in range(SINGLES)]
            for _ in range(SINGLES):
                self.insert(here)
                taken.append(self.insert(there))
            bursts = []
            for connection in (here, there):
                self.insert(connection)
                began = time.monotonic()
                for _ in range(BURST):
                    self.insert(connection)
                bursts.append(BURST / (time.monotonic() - began))
            rates.append((bursts[0], bursts[1]))
        print(f"one-row commit, primary: p50 {statistics.median(own) * 1e3:.2f} ms")
        print(f"one-row commit, replica, grant not held: p50 {statistics.median(taken) * 1e3:.2f} ms")
        shares = [there / here for here, there in rates]
        print(f"{BURST} at a stretch: primary {statistics.median(r[0] for r in rates):.0f}/s, replica "
              f"{statistics.median(r[1] for r in rates):.0f}/s, {statistics.median(shares):.2f} of it", flush=True)

    def everywhere(self):
        self.make("e.db")
        connection = self.connect(self.primary(), "e.db")
        connection.execute("DROP TABLE t")
        connection.execute("CREATE TABLE t(node, x)")
        connection.close()
        time.sleep(1)
        result = subprocess.run(
            [sys.executable, EVERYWHERE, str(SECONDS), "e.db", *(n.mount for n in self.nodes)],
            capture_output=True, text=True, preexec_fn=die_with_parent,
        )
        found = json.loads(result.stdout.splitlines()[0])
        shares = [count / sum(found["written"]) for count in found["written"]]
        print(f"three nodes write for {SECONDS} s: {sum(found['written']) / SECONDS:.0f}/s, shares "
              f"{', '.join(f'{share:.0%}' for share in shares)}, longest wait {max(found['longest']):.2f} s, "
              f"{'no error' if result.returncode == 0 else result.stdout}", flush=True)

    def reads(self):
        self.make("r.db")
        self.connect(self.primary(), "r.db").execute("INSERT INTO t(x) VALUES (1)")
        node = self.replica("r.db")
        for count in (1, READERS):
            reads, times = self.execute(SELECT, [f"{node.mount}/r.db"] * count, READ_SECONDS)
            rate = reads / READ_SECONDS
            median = statistics.median(median for median, _ in times)
            print(f"linearizable SELECT on a replica, {count} connections: {rate:.0f}/s, p50 {median * 1e3:.3f} ms",
                  flush=True)


def main():
    measurement = Forwarding(os.path.abspath(sys.argv[1]))
    only = sys.argv[2:]
    try:
        measurement.start("2s")
        if not only or "commits" in only:
            measurement.commits()
        if not only or "everywhere" in only:
            measurement.everywhere()
        measurement.stop()
        if not only or "reads" in only:
            measurement.start("2s", more="reads: linearizable")
            measurement.reads()
    finally:
        measurement.stop()
        shutil.rmtree(measurement.root, ignore_errors=True)


if __name__ == "__main__":
    main()

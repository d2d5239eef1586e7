"""measure.py [HALITE]: what commits that wait for a majority cost, and what a cluster does when nobody wants anything.

Three voters on this machine, `sync: quorum`, all on one disk. Rounds of a bare fdatasync of 4 KiB, of one-row commits (WAL,
synchronous=NORMAL) into one database, and into eight at once, alternate, since the disk's speed changes from minute to
minute. Then: how fast a replica that was away comes back while writes go on, how long the cluster is without a
primary that takes writes after kill -9 and at hand-overs, and what three idle nodes take.
"""

import os
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../shared"))
from nodes import Node, Problem, command, die_with_parent, free_port

ROUNDS = 5
SECONDS = 4.0
WRITERS = 8
BEHIND = 100_000
FAILOVERS = 20

INSERT = "INSERT INTO t(x) VALUES ('0123456789')"

# One connection that executes a statement until the time is over; it begins when it is told to.
CLIENT = """
import sqlite3, sys, time
c = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)
c.execute('PRAGMA synchronous=NORMAL')
c.execute('SELECT x FROM t LIMIT 1').fetchone()
print('ready', flush=True)
sys.stdin.readline()
end = time.monotonic() + float(sys.argv[2])
times = []
while (now := time.monotonic()) < end:
    c.execute(sys.argv[3]).fetchone()
    times.append(time.monotonic() - now)
times.sort()
print(len(times), times[len(times) // 2], times[len(times) * 99 // 100])
"""


def fdatasync(directory, seconds):
    """The median of writing 4 KiB and syncing them, in seconds."""
    times = []
    path = os.path.join(directory, "sync.probe")
    with open(path, "wb", buffering=0) as file:
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            times.append(time.monotonic() - now)
    os.remove(path)
    return statistics.median(times)


class Measurement:
    def __init__(self, halite):
        self.halite = halite
        self.root = tempfile.mkdtemp(prefix="halite-measure-", dir="/var/tmp")
        self.nodes = []

    def start(self, ttl, sync="quorum", more=""):
        if not os.path.exists(self.root + "/certs"):
            made = command([self.halite, "cert", "init", "--dir", self.root + "/certs"])
            if made.returncode:
                raise Problem(made.stderr)
        ports = [free_port() for _ in range(3)]
        peers = ", ".join(f'node{n}: "127.0.0.1:{port}"' for n, port in enumerate(ports, 1))
        lease = f"type: quorum, ttl: {ttl}, quorum: {{peers: {{{peers}}}}}"
        for number, port in enumerate(ports, 1):
            node = Node(self.halite, self.root, number, port, lease, "scrub-rate: 0", sync=sync, more=more)
            self.nodes.append(node)
            node.start()
        for node in self.nodes:
            node.wait_ready()

    def primary(self):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for node in self.nodes:
                status = node.status()
                if status and status["node"]["role"] == "primary" and status["node"]["ready"]:
                    return node
            time.sleep(0.01)
        raise Problem("there is no primary")

    def make(self, *names):
        mount = self.primary().mount
        for name in names:
            connection = sqlite3.connect(f"{mount}/{name}", timeout=20)
            connection.executescript("PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, x)")
            connection.close()
        return mount

    def client(self, statement, path, seconds):
        return subprocess.Popen([sys.executable, "-c", CLIENT, path, str(seconds), statement], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent)

    def begin(self, client):
        client.stdin.write("go\n")
        client.stdin.flush()

    def execute(self, statement, paths, seconds):
        """How often, and the median and the 99th percentile of one time in seconds, of a client each."""
        clients = [self.client(statement, path, seconds) for path in paths]
        for client in clients:
            client.stdout.readline()
        for client in clients:
            self.begin(client)
        results = [client.communicate()[0].split() for client in clients]
        return sum(int(r[0]) for r in results), [(float(r[1]), float(r[2])) for r in results]

    def commits(self):
        names = [f"c{n}.db" for n in range(WRITERS)]
        mount = self.make(*names)
        paths = [f"{mount}/{name}" for name in names]
        syncs, medians, slow, ones, manys = [], [], [], [], []
        for _ in range(ROUNDS):
            syncs.append(fdatasync(self.root, SECONDS / 2))
            one, times = self.execute(INSERT, paths[:1], SECONDS)
            many, _ = self.execute(INSERT, paths, SECONDS)
            medians.append(times[0][0])
            slow.append(times[0][1])
            ones.append(one / SECONDS)
            manys.append(many / SECONDS)
        sync, median = statistics.median(syncs), statistics.median(medians)
        self.say("bare fdatasync of 4 KiB, median", syncs, 1e3, "ms")
        self.say("one-row commit, median", medians, 1e3, "ms")
        self.say("one-row commit, 99th percentile", slow, 1e3, "ms")
        print(f"  allowed: 3 syncs and 0.5 ms, {3 * sync * 1e3 + 0.5:.2f} ms; taken {median * 1e3:.2f} ms")
        self.say("commits a second, one database", ones, 1, "/s")
        self.say(f"commits a second, {WRITERS} databases at once", manys, 1, "/s")
        print(f"  {statistics.median(m / o for m, o in zip(manys, ones)):.1f} times as many")

    def say(self, what, values, factor, unit):
        values = sorted(v * factor for v in values)
        print(f"{what}: {statistics.median(values):,.2f} ({values[0]:,.2f}–{values[-1]:,.2f}) {unit}", flush=True)

    def catch_up(self):
        mount = self.make("behind.db")
        primary = self.primary()
        replica = next(node for node in self.nodes if node is not primary)
        replica.kill(signal.SIGKILL)
        replica.process.wait(30)
        while self.last(primary, "behind.db") < BEHIND:
            self.execute(INSERT, [f"{mount}/behind.db"] * 2, 5)
        missing = self.last(primary, "behind.db")
        writer = self.client(INSERT, f"{mount}/behind.db", 120)
        replica.start()
        began = None
        while True:
            here = self.last(replica, "behind.db")
            if here and began is None:
                began, first = time.monotonic(), here
                self.begin(writer)
            if here >= missing:
                break
            time.sleep(0.02)
        seconds = max(time.monotonic() - began, 1e-3)
        writer.kill()
        print(f"a replica {missing - first:,} transactions behind: caught up after {seconds:.2f} s, "
              f"{(missing - first) / seconds:,.0f} transactions/s", flush=True)

    def last(self, node, name):
        positions = node.positions() or {}
        return int(positions[name][0], 16) if name in positions else 0

    def failovers(self):
        times = []
        self.make("fail.db")
        for _ in range(FAILOVERS):
            old = self.primary()
            others = [node for node in self.nodes if node is not old]
            began = time.monotonic()
            old.kill(signal.SIGKILL)
            self.first_write(others)
            times.append(time.monotonic() - began)
            old.process.wait(30)
            old.start()
            for node in self.nodes:
                node.wait_ready()
        return times

    def first_write(self, nodes):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for node in nodes:
                try:
                    connection = sqlite3.connect(f"{node.mount}/fail.db", timeout=0, isolation_level=None)
                    connection.execute("INSERT INTO t(x) VALUES (1)")
                    return
                except sqlite3.Error:
                    pass
                finally:
                    connection.close()
            time.sleep(0.002)
        raise Problem("nobody takes writes")

    def hand_overs(self):
        """The longest time without a write acknowledged anywhere at each `halite demote`, and writes that failed."""
        self.make("hand.db")
        done, failed, over = [], [], threading.Event()
        writers = [threading.Thread(target=self.keep_writing, args=(node, done, failed, over)) for node in self.nodes]
        for writer in writers:
            writer.start()
        gaps = []
        try:
            for _ in range(FAILOVERS):
                time.sleep(1)
                first, began = len(done), time.monotonic()
                made = command([self.halite, "demote", "--config", self.primary().configuration])
                if made.returncode:
                    raise Problem(f"demote: {made.stderr}")
                self.primary()
                ended = time.monotonic()
                time.sleep(1)
                times = sorted(done[max(first - 1, 0):])
                # Not what happens later, such as a checkpoint.
                gaps.append(max(b - a for a, b in zip(times, times[1:]) if b >= began and a <= ended))
        finally:
            over.set()
            for writer in writers:
                writer.join()
        return gaps, failed

    def keep_writing(self, node, done, failed, over):
        """One connection, which inserts where that is possible. Where it is not, busy and read-only are no failures."""
        connection = sqlite3.connect(f"{node.mount}/hand.db", timeout=0, isolation_level=None)
        while not over.is_set():
            try:
                connection.execute("INSERT INTO t(x) VALUES (1)")
                done.append(time.monotonic())
            except sqlite3.Error as error:
                if not any(word in str(error) for word in ("locked", "readonly", "no such table")):
                    failed.append(f"{node.name}: {error}")
            time.sleep(0.002)
        connection.close()

    def idle(self, seconds=20):
        time.sleep(5)
        before = [self.used(node) for node in self.nodes]
        time.sleep(seconds)
        for node, (ticks, written) in zip(self.nodes, before):
            now = self.used(node)
            share = (now[0] - ticks) / os.sysconf("SC_CLK_TCK") / seconds
            print(f"{node.name} idle: {share:.2%} of a core, {(now[1] - written) / 1024:.0f} KiB written in {seconds} s",
                  flush=True)

    def used(self, node):
        with open(f"/proc/{node.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        with open(f"/proc/{node.process.pid}/io") as file:
            written = next(int(line.split()[1]) for line in file if line.startswith("write_bytes"))
        return int(fields[11]) + int(fields[12]), written

    def stop(self):
        for node in reversed(self.nodes):
            node.remove()
        self.nodes = []
        for name in os.listdir(self.root):
            if name.startswith("node") or name == "certs":
                shutil.rmtree(os.path.join(self.root, name), ignore_errors=True)


def main():
    measurement = Measurement(os.path.abspath(sys.argv[1]))
    only = sys.argv[2:]
    try:
        measurement.start("2s")
        if not only or "commits" in only:
            measurement.commits()
        if not only or "idle" in only:
            measurement.idle()
        if not only or "behind" in only:
            measurement.catch_up()
        measurement.stop()
        for ttl in ("2s", "500ms"):
            if not only or "failovers" in only:
                measurement.start(ttl)
                times = measurement.failovers()
                measurement.say(f"kill -9 to the first write elsewhere, ttl {ttl}", times, 1, "s")
                gaps, failed = measurement.hand_overs()
                measurement.say(f"longest time without a write at a hand-over, ttl {ttl}", gaps, 1e3, "ms")
                print(f"  writes that failed: {len(failed)} {failed[:3]}", flush=True)
                measurement.stop()
    finally:
        measurement.stop()
        shutil.rmtree(measurement.root, ignore_errors=True)


if __name__ == "__main__":
    main()

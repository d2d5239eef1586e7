"""soak.py MINUTES [HALITE]: a primary and two replicas under everything at once.

Applications write (WAL and DELETE, single rows, thousands of rows, VACUUM, rollbacks; databases that
come, are renamed and go) and read on all nodes, while applications and nodes are killed, stopped and
continued by chance. HALITE_SOAK_SEED repeats the order of what is done. At each quiet point the
applications pause, and then

* every node must be at the primary's position of every database, within CATCH_UP seconds,
* an export of each database must be the same bytes on all nodes and pass `integrity_check`,
* the primary must have every transaction that an application was told is committed;

and all along no reader may see a part of a transaction, a snapshot that changes, or an older state
than before, and memory, descriptors, threads and log stay within LIMITS. Exit code 1 names what was
not so; the directory with all files then stays.
"""

import hashlib
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../shared"))
from nodes import Application, Node, Problem, command, free_port

# The log is cut by segments of 64 MiB: beyond its own limit there are the one being written and the
# one before, which redo may still need.
MAX_LOG = 64
LIMITS = {"memory": 512, "descriptors": 256, "threads": 96, "log": MAX_LOG + 2 * 64 + 16}
SETTINGS = f"retention: 30s, max-log-size: {MAX_LOG}MiB"
# Seconds that a replica may take after whatever happened to it.
CATCH_UP = 90
QUIET_EVERY = 20
HERE = os.path.dirname(os.path.abspath(__file__))


class Soak:
    def __init__(self, halite, seed):
        self.random = random.Random(seed)
        self.halite = halite
        self.root = tempfile.mkdtemp(prefix="halite-soak-")
        self.pause = os.path.join(self.root, "pause")
        self.faults = {}
        self.quiet_points = 0
        self.highest = dict.fromkeys(LIMITS, 0)
        self.slowest = 0.0
        self.set_aside = {}
        self.nodes, self.writers, self.others = [], {}, []

    def start(self):
        made = command([self.halite, "cert", "init", "--dir", self.root + "/certs"])
        if made.returncode:
            raise Problem(f"cert init: {made.stderr}")
        primary = free_port()
        for number in (1, 2, 3):
            lease = f'type: static, primary: "127.0.0.1:{primary}"'
            port = primary if number == 1 else free_port()
            node = Node(self.halite, self.root, number, port, lease, SETTINGS)
            self.nodes.append(node)
            node.start()
        for node in self.nodes:
            node.wait_ready()
        mount = self.nodes[0].mount
        for name, mode in (("wal.db", "WAL"), ("delete.db", "DELETE")):
            self.writers[name] = self.application("writer", mount, name, mode, self.seed(),
                                                  self.pause)
        self.others.append(self.application("files", mount, self.seed(), self.pause))
        for node in self.nodes:
            self.others.append(self.application("reader", node.mount, self.seed()))

    def seed(self):
        return str(self.random.randrange(1 << 30))

    def application(self, *words):
        return Application([sys.executable, HERE + "/application.py", *words])

    @property
    def applications(self):
        return list(self.writers.values()) + self.others

    def run(self, minutes):
        start = time.monotonic()
        end = start + 60 * minutes
        next_line = start + 60
        next_quiet = start + QUIET_EVERY
        while time.monotonic() < end:
            self.settle(self.random.uniform(1, 6))
            if time.monotonic() > next_quiet:
                self.quiet_point()
                next_quiet = time.monotonic() + QUIET_EVERY
            else:
                self.fault()
            if time.monotonic() > next_line:
                self.say(f"{(time.monotonic() - start) / 60:4.1f} min")
                next_line += 60
        self.quiet_point()

    def settle(self, seconds):
        """Lets things go on for a while and looks at the limits."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.5)
            self.check()

    def check(self):
        for application in self.applications:
            application.check()
        for node in self.nodes:
            node.check_alive()
            figures = node.figures()
            for key, value in (figures or {}).items():
                self.highest[key] = max(self.highest[key], value)
                if value > LIMITS[key]:
                    raise Problem(f"{node.name}: {key} is {value:.0f}, the limit {LIMITS[key]}")

    # What goes wrong on purpose.

    def fault(self):
        kind, body = self.random.choice((
            ("application killed", self.kill_application),
            ("application killed", self.kill_application),
            ("node killed", self.kill_node),
            ("node stopped", self.restart_node),
            ("node paused", self.pause_node),
        ))
        self.faults[kind] = self.faults.get(kind, 0) + 1
        self.note(f"{kind}: {body()}")

    def note(self, event):
        with open(os.path.join(self.root, "events"), "a") as file:
            print(f"{time.time():.2f} {event}", file=file)

    def kill_application(self):
        application = self.random.choice(self.applications)
        application.kill_and_restart()
        return " ".join(application.words[2:4])

    def any_node(self):
        return self.random.choice(self.nodes)

    def kill_node(self):
        node = self.any_node()
        node.crash()
        return node.name

    def restart_node(self):
        node = self.any_node()
        node.restart()
        return node.name

    def pause_node(self):
        node = self.any_node()
        node.kill(signal.SIGSTOP)
        time.sleep(self.random.uniform(0.5, 4))
        node.kill(signal.SIGCONT)
        return node.name

    # What must be right.

    def quiet_point(self):
        with open(self.pause, "w"):
            pass
        self.wait_for(
            lambda: all(a.is_paused for a in self.applications if a.words[2] != "reader"),
            "the applications to pause",
        )
        for node in self.nodes:
            node.wait_ready(CATCH_UP)
        before = time.monotonic()
        self.wait_for(self.all_equal, "the replicas to catch up")
        self.slowest = max(self.slowest, time.monotonic() - before)
        for name in sorted(self.nodes[0].positions()):
            self.compare(name)
        for node in self.nodes:
            status = node.status()
            bad = [d for d in status["databases"] if d.get("problem")]
            # A replica that retention has overtaken keeps databases that were dropped meanwhile
            # there; but there is one primary, so no log may ever have another tail.
            self.set_aside[node.name] = sum(f.endswith(".db") for f in status["quarantine"])
            tails = [f for f in status["quarantine"] if "-log-" in f]
            if bad or tails or status["waiting"]:
                raise Problem(f"{node.name}: {bad} {tails} {status['waiting']}")
        self.quiet_points += 1
        os.remove(self.pause)

    def wait_for(self, condition, what):
        deadline = time.monotonic() + CATCH_UP
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                positions = {node.name: node.positions() for node in self.nodes}
                raise Problem(f"{what}: not within {CATCH_UP} s; positions {positions}")
            time.sleep(0.1)

    def all_equal(self):
        positions = [node.positions() for node in self.nodes]
        return positions[0] is not None and all(p == positions[0] for p in positions)

    def compare(self, name):
        digests = set()
        copy = os.path.join(self.root, "export.db")
        for node in self.nodes:
            if os.path.exists(copy):
                os.remove(copy)
            made = command([self.halite, "export", "--config", node.configuration, name, copy])
            if made.returncode:
                raise Problem(f"{node.name} cannot export {name}: {made.stderr}")
            with open(copy, "rb") as file:
                digests.add(hashlib.sha256(file.read()).hexdigest())
        if len(digests) != 1:
            raise Problem(f"{name} differs between nodes at the same position")
        self.examine(name, copy)

    def examine(self, name, copy):
        connection = sqlite3.connect(copy)
        (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
        if verdict != "ok":
            raise Problem(f"integrity_check of {name}: {verdict}")
        writer = self.writers.get(name)
        if writer:
            (number,) = connection.execute("SELECT n FROM last").fetchone()
            (rows,) = connection.execute("SELECT count(*) FROM t").fetchone()
            if number < writer.last:
                raise Problem(f"{name} has {number} rows, {writer.last} were committed")
            if rows != min(number, 3000):
                raise Problem(f"{name} has {rows} rows after {number}")
        connection.close()

    def say(self, when):
        committed = sum(a.count("committed") for a in self.applications)
        reads = sum(a.count("read") for a in self.applications)
        figures = [node.figures() or dict.fromkeys(LIMITS, 0) for node in self.nodes]
        columns = "; ".join(
            f"{key} " + "/".join(f"{f[key]:.0f}" for f in figures) for key in LIMITS
        )
        print(
            f"{when}: {committed} commits, {reads} reads, {sum(self.faults.values())} faults, "
            f"{self.quiet_points} quiet points; {columns}",
            flush=True,
        )

    def summary(self):
        self.say("in all")
        rows = ", ".join(f"{name} {w.last}" for name, w in self.writers.items())
        highest = ", ".join(f"{k} {v:.0f} of {LIMITS[k]}" for k, v in self.highest.items())
        orphaned = sum(a.count("orphaned") for a in self.applications)
        print(f"faults: {self.faults}; rows: {rows}")
        print(f"reads that went wrong on the open files of a killed node: {orphaned}")
        print(f"dropped databases set aside by replicas that came late: {self.set_aside}")
        print(f"highest: {highest}; longest wait for equal positions {self.slowest:.1f} s")

    def stop(self, keep):
        for application in self.applications:
            application.stop()
        for node in reversed(self.nodes):
            node.remove()
        if not keep:
            shutil.rmtree(self.root, ignore_errors=True)


def main():
    minutes = float(sys.argv[1])
    halite = os.path.abspath(sys.argv[2])
    seed = int(os.environ.get("HALITE_SOAK_SEED", random.randrange(1 << 30)))
    print(f"soak: {minutes:g} minutes, HALITE_SOAK_SEED={seed}, limits {LIMITS}", flush=True)
    soak = Soak(halite, seed)
    problem = None
    try:
        soak.start()
        soak.run(minutes)
    except Problem as error:
        problem = error
    except KeyboardInterrupt:
        problem = Problem("interrupted")
    try:
        soak.summary()
    finally:
        soak.stop(keep=problem is not None)
    if problem:
        print(f"soak: FAILED: {problem}\nfiles: {soak.root}")
        sys.exit(1)
    print("soak: everything held")


if __name__ == "__main__":
    main()

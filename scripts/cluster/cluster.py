"""cluster.py ROUNDS [HALITE] [SYNC]: three voters in networks of their own, clients on each, and everything that can go
wrong with nodes and networks.

In each round every fault happens once, in an order by chance (HALITE_CLUSTER_SEED repeats it): the primary is killed;
all nodes are killed at once; the primary stands still for longer than its lease; the primary is cut off, and a
replica; nothing comes to the primary any more, or from it; the primary and one replica do not reach each other; the
primary's disk is full; all nodes are restarted one after the other. After each fault the cluster must have one
primary that takes writes, every node must come to the same position of every database, with the same bytes, and with `sync: quorum`
have every number that a client was told is committed. With `sync: quorum` reads are linearizable: what clients of all nodes saw of
single rows must have happened in one order that fits the times, and each of their writes once. All along money must be constant in every read on every node.
Clients of all nodes write; with HALITE_CLUSTER_FORWARDING=0 those of the primary alone. With `sync: quorum`, no reader may see fewer rows than before. Exit code 1 names what was not so; the directory with all files then stays.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../shared"))
from application import DATABASES, REGISTERS
from clients import Client, RegisterClient
from linearizability import check as find_order, test as test_checker
from network import Network, run
from nodes import Node, Problem, command

VOTERS = 3
TTL = 1.0
PORT = 20203
# Seconds that the cluster may take after whatever happened to it.
HEALING = 60


class Cluster:
    def __init__(self, halite, sync, seed):
        self.random = random.Random(seed)
        self.halite, self.sync = halite, sync
        self.root = tempfile.mkdtemp(prefix="halite-cluster-")
        self.pause = os.path.join(self.root, "pause")
        self.network = Network(VOTERS)
        self.nodes, self.writers, self.readers, self.registers, self.disks = [], [], [], [], []
        self.settings = f"reads: {'linearizable' if sync == 'quorum' else 'local'}"
        if os.environ.get("HALITE_CLUSTER_FORWARDING") == "0":
            self.settings += "\nwrite-forwarding: false"
        self.failovers, self.lost = [], 0
        self.began = time.monotonic()

    def start(self):
        made = command([self.halite, "cert", "init", "--dir", self.root + "/certs"])
        if made.returncode:
            raise Problem(f"cert init: {made.stderr}")
        self.network.start()
        addresses = {f"node{n}": self.network.address(n) for n in range(1, VOTERS + 1)}
        peers = ", ".join(f'{name}: "{address}:{PORT}"' for name, address in addresses.items())
        lease = f"type: quorum, ttl: {TTL:g}s, quorum: {{peers: {{{peers}}}}}"
        for number in range(1, VOTERS + 1):
            node = Node(self.halite, self.root, number, PORT, lease, "retention: 10m",
                        host=self.network.address(number), sync=self.sync, more=self.settings)
            node.inside = self.network.inside(number)
            node.number = number
            self.make_disk(node)
            self.nodes.append(node)
            node.start()
        primary = self.wait_healthy()
        done = command([sys.executable, HERE + "/application.py", "make", primary.mount])
        if done.returncode:
            raise Problem(f"the databases cannot be made: {done.stderr}")
        self.wait_equal()
        for node in self.nodes:
            self.writers.append(Client("writer", node.mount, self.pause))
            self.readers.append(Client("reader", node.mount, self.sync))
            if self.sync == "quorum":
                self.registers.append(RegisterClient(node.mount, self.pause, str(node.number - 1)))

    def make_disk(self, node):
        """A file system of its own, which can be filled."""
        image = node.home + "/disk.img"
        os.makedirs(node.data)
        run("truncate", "-s", "512M", image)
        run("mkfs.ext4", "-q", "-F", image)
        run("mount", "-o", "loop", image, node.data)
        self.disks.append(node.data)

    # What is known of the nodes.

    def primaries(self):
        found = []
        for node in self.nodes:
            status = node.status()
            if status and status["node"]["role"] == "primary" and status["node"]["ready"]:
                found.append(node)
        return found

    def primary(self):
        found = []
        self.wait_for(lambda: len(self.look(found)) == 1, "one primary")
        return found[0]

    def look(self, found):
        found[:] = self.primaries()
        return found

    def wait_for(self, condition, what, seconds=HEALING):
        deadline = time.monotonic() + seconds
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                states = {node.name: node.status() for node in self.nodes}
                raise Problem(f"{what}: not within {seconds} s; {states}")
            time.sleep(0.05)

    def check(self):
        for client in self.writers + self.readers + self.registers:
            client.check()

    def wait_healthy(self):
        self.wait_for(
            lambda: all((s := node.status()) and s["node"]["ready"] for node in self.nodes),
            "all nodes to be ready",
        )
        return self.primary()

    def equal(self):
        positions = [node.positions() for node in self.nodes]
        return positions[0] is not None and all(p == positions[0] for p in positions)

    def wait_equal(self):
        self.wait_for(self.equal, "all nodes to be equal")

    # What goes wrong on purpose.

    def faults(self):
        return {
            "primary killed": self.kill_primary,
            "all killed": self.kill_all,
            "primary paused": self.pause_primary,
            "primary cut off": self.cut_primary,
            "replica cut off": self.cut_replica,
            "primary not heard": lambda: self.filter_primary("OUTPUT"),
            "primary hears nothing": lambda: self.filter_primary("INPUT"),
            "one link cut": self.cut_link,
            "disk full": self.fill_disk,
            "rolling restart": self.restart_all,
        }

    def successor(self, old):
        """Waits until another node takes writes; how long that took is noted."""
        before = {w: w.total() for w in self.writers}
        began = time.monotonic()
        others = [w for w in self.writers if w.words[3] != old.mount]
        self.wait_for(
            lambda: any(w.total() > before[w] for w in others),
            f"another node than {old.name} to take writes",
            15,
        )
        self.failovers.append(time.monotonic() - began)

    def kill_primary(self):
        old = self.primary()
        old.kill(signal.SIGKILL)
        old.process.wait(30)
        self.successor(old)
        old.start()

    def kill_all(self):
        for node in self.nodes:
            node.kill(signal.SIGKILL)
        for node in self.nodes:
            node.process.wait(30)
        for node in self.nodes:
            node.start()

    def pause_primary(self):
        old = self.primary()
        old.kill(signal.SIGSTOP)
        try:
            self.successor(old)
        finally:
            old.kill(signal.SIGCONT)

    def cut_primary(self):
        old = self.primary()
        self.network.cut(old.number)
        try:
            self.successor(old)
        finally:
            self.network.join(old.number)

    def cut_replica(self):
        primary = self.primary()
        node = self.random.choice([n for n in self.nodes if n is not primary])
        self.network.cut(node.number)
        time.sleep(TTL * 3)
        self.network.join(node.number)

    def filter_primary(self, chain):
        """One direction only: the others go on to hear the primary, or it goes on to hear them."""
        old = self.primary()
        others = [n.number for n in self.nodes if n is not old]
        try:
            self.network.filter(chain, old.number, others)
            self.successor(old)
        finally:
            self.network.filter(chain, old.number, others, "-D")

    def cut_link(self):
        """The primary and one replica do not reach each other and both reach the third node: writes go on."""
        primary = self.primary()
        node = self.random.choice([n for n in self.nodes if n is not primary])
        writer = next(w for w in self.writers if w.words[3] == primary.mount)
        try:
            for chain in ("INPUT", "OUTPUT"):
                self.network.filter(chain, node.number, [primary.number])
            time.sleep(TTL * 3)
            before = writer.total()
            self.wait_for(
                lambda: writer.total() > before,
                f"{primary.name} to take writes though {node.name} does not reach it",
                15,
            )
        finally:
            for chain in ("INPUT", "OUTPUT"):
                self.network.filter(chain, node.number, [primary.number], "-D")

    def fill_disk(self):
        node = self.primary()
        filler = node.data + "/filler"
        with open(filler, "wb") as file:
            try:
                while True:
                    file.write(bytes(1 << 20))
                    file.flush()
            except OSError:
                pass
        self.wait_for(
            lambda: (s := node.status()) and (s["problems"] or s["node"]["role"] != "primary"),
            f"{node.name} to notice that its disk is full",
            20,
        )
        os.remove(filler)

    def restart_all(self):
        for node in self.nodes:
            node.restart()
            self.wait_healthy()

    # What must be right.

    def round(self):
        faults = list(self.faults().items())
        self.random.shuffle(faults)
        for name, body in faults:
            time.sleep(self.random.uniform(0.5, 2))
            began = time.monotonic()
            body()
            self.heal()
            self.say(f"{name}: healed after {time.monotonic() - began:.1f} s")

    def heal(self):
        self.wait_healthy()
        with open(self.pause, "w"):
            pass
        writers = self.writers + self.registers
        self.wait_for(lambda: all(w.is_paused for w in writers), "the writers to pause")
        self.wait_equal()
        for name in DATABASES:
            self.compare(name)
        os.remove(self.pause)
        self.wait_for(lambda: not any(w.is_paused for w in writers), "the writers to go on")

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
        connection = sqlite3.connect(copy)
        (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
        present = {n for (n,) in connection.execute("SELECT n FROM t")}
        tallies = dict(connection.execute("SELECT id, n FROM tally"))
        connection.close()
        if verdict != "ok":
            raise Problem(f"integrity_check of {name}: {verdict}")
        for number, client in enumerate(self.registers, 1):
            least, most = client.writes(name)
            if not least <= tallies[number] <= most:
                raise Problem(f"{name}: client {number} wrote {least} to {most} times, and {tallies[number]} happened")
        missing = set().union(*(w.numbers[name] for w in self.writers)) - present
        self.lost += len(missing)
        if missing and self.sync == "quorum":
            raise Problem(f"{name} lacks {len(missing)} committed rows, as {min(missing)}")
        for writer in self.writers:
            writer.numbers[name] -= missing

    def check_order(self):
        """Whether all that was seen of each register can have happened in one order."""
        histories = {}
        for client in self.registers:
            with client.lock:
                for op in client.operations:
                    histories.setdefault(op["register"], []).append(op)
        for name, history in sorted(histories.items()):
            beginning = find_order(history)
            if beginning:
                with open(os.path.join(self.root, "history.json"), "w") as file:
                    json.dump(history, file)
                raise Problem(f"the operations on {name} fit in no order: {beginning[-6:]}")
        if histories and len(histories) < REGISTERS * len(DATABASES):
            raise Problem(f"only {len(histories)} registers were used")
        return sum(map(len, histories.values()))

    def say(self, what):
        print(f"{time.monotonic() - self.began:6.1f} s  {what}", flush=True)

    def summary(self):
        committed = sum(w.count("committed") for w in self.writers)
        reads = sum(r.count("read") for r in self.readers)
        each = "/".join(str(w.count("committed")) for w in self.writers)
        times = ", ".join(f"{t:.1f}" for t in sorted(self.failovers))
        print(f"{committed} transactions committed ({each} by node), {reads} reads, {self.lost} lost; "
              f"{sum(len(r.operations) for r in self.registers)} operations on registers; another node took writes after {times} s (ttl {TTL:g} s)")

    def stop(self, keep):
        for client in self.writers + self.readers + self.registers:
            client.stop()
        for node in reversed(self.nodes):
            node.remove()
        self.network.stop()
        for disk in self.disks:
            command(["umount", "-l", disk], 20)
        if not keep:
            shutil.rmtree(self.root, ignore_errors=True)


def main():
    rounds = int(sys.argv[1])
    halite = os.path.abspath(sys.argv[2])
    sync = sys.argv[3] if len(sys.argv) > 3 else "quorum"
    seed = int(os.environ.get("HALITE_CLUSTER_SEED", random.randrange(1 << 30)))
    print(f"cluster: {rounds} rounds, sync {sync}, HALITE_CLUSTER_SEED={seed}", flush=True)
    test_checker()
    cluster = Cluster(halite, sync, seed)
    problem = None
    try:
        cluster.start()
        for _ in range(rounds):
            cluster.round()
        cluster.check_order()
    except Problem as error:
        problem = error
    except KeyboardInterrupt:
        problem = Problem("interrupted")
    try:
        cluster.summary()
    finally:
        cluster.stop(keep=problem is not None)
    if problem:
        print(f"cluster: FAILED: {problem}\nfiles: {cluster.root}")
        sys.exit(1)
    print("cluster: everything held")


if __name__ == "__main__":
    main()

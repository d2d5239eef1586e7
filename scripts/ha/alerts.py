"""alerts.py BINARIES [STEP…]: three servers behind HAProxy and NGINX lose their master in every way, and the balancers
and alerts of deploy/ must notice.

Rules are those of deploy/prometheus with shorter times; see watch.py. Needs root, and the packages haproxy, nginx and
prometheus.
"""

import os
import shutil
import signal
import sys
import time

from served import BALANCERS, NODES, PROMETHEUS_PORT, Served
from traffic import Traffic
from nodes import Problem
from host import REPOSITORY
from watch import Watch, seconds_for, until

# All of it; each step has bounds of its own, which are far more than it takes.
LIMIT_SECONDS = 420
# The end of all processes.
STOP_SECONDS = 120
# From a fault until writes succeed again: lease.ttl, an election, a heartbeat of 1 s and the balancers' checks.
FAILOVER_SECONDS = 20
FIRING_SECONDS = 20
# A master counts who was heard of in the last 30 s, which the test cannot make shorter.
OFFLINE_SECONDS = 75
RESOLVED_SECONDS = 45
HEALING_SECONDS = 60
# Until balancers know that a server is gone: a read on each connection that was kept to it waits in vain.
READ_GRACE_SECONDS = 12
REQUESTS = 12
STEPS = ("kill_primary", "cut_primary", "cut_primary_from_nodes", "lose_majority")


class AlertsTest:
    def __init__(self, binaries, steps):
        self.steps = steps
        self.served = Served(binaries)
        self.watch = self.traffic = None
        self.table = []
        with open(f"{REPOSITORY}/deploy/prometheus/nebulagc.rules.yml", encoding="utf-8") as file:
            self.tolerance = seconds_for(file.read(), "NebulaGCSplitBrain")

    def run(self):
        self.served.start()
        self.watch = Watch(self.served.address("lb", PROMETHEUS_PORT))
        self.traffic = Traffic(
            {name: self.served.address("lb", port) for name, port in BALANCERS.items()}, self.served.token)
        self.say("three servers, two balancers and Prometheus run")
        self.quiet()
        for step in self.steps:
            getattr(self, step)()
            self.check_masters()
        self.traffic.stop()
        self.await_rows("at the end")
        self.say(f"{len(self.traffic.confirmed())} confirmed rows are on all nodes, each once")

    def say(self, what):
        print(f"{time.monotonic() - BEGAN:6.1f}  {what}", flush=True)

    def row(self, step, what, seconds):
        self.table.append((step, what, seconds))
        self.say(f"{step}: {what} {seconds:.1f} s")

    # MARK: Steps

    def quiet(self):
        """Nothing is wrong, and balancers know who is who."""
        self.watch.await_servers(len(NODES), FIRING_SECONDS)
        self.watch.await_quiet(HEALING_SECONDS)
        since = self.watch.began = time.time()
        masters = self.served.masters()
        if len(masters) != 1:
            raise Problem(f"a cluster that is well has the masters {masters}")
        self.watch_routing(masters[0])
        self.traffic.start()
        for client in self.traffic.all:
            client.await_success(time.monotonic(), FIRING_SECONDS)
        # As long as the longest `for` and range of the rules, in the test.
        until("the rules have seen a while of quiet", lambda: time.time() - since > 10, 15)
        seen = self.watch.ever("pending", since) | self.watch.ever("firing", since)
        if seen or failed(self.traffic.all, since=0):
            raise Problem(f"while all is well: alerts {seen}, requests {failed(self.traffic.all, since=0)}")
        self.say("nothing is pending or firing, and writes go to the master, reads to all")

    def watch_routing(self, master):
        """Servers themselves say what came to them."""
        for name, client in self.traffic.writers.items():
            before = {node: (self.served.answered(node, "POST"), self.served.answered(node, "GET")) for node in NODES}
            for number in range(REQUESTS):
                if (status := client.once(-number)) != 201:
                    raise Problem(f"a write through {name}: {status}")
                if (status := self.traffic.readers[name].once(number)) != 200:
                    raise Problem(f"a read through {name}: {status}")
            for node, (writes, reads) in before.items():
                writes = self.served.answered(node, "POST") - writes
                reads = self.served.answered(node, "GET") - reads
                if writes != (REQUESTS if node == master else 0) or reads < REQUESTS / len(NODES) / 2:
                    raise Problem(f"{name} sent {node} {writes} writes and {reads} reads; the master is {master}")

    def kill_primary(self):
        step = "the primary's machine is off"
        old, since = self.master(), time.monotonic()
        self.served.power_off(old)
        self.await_failover(step, old, since)
        self.row(step, "Failover is resolved after",
                 self.watch.await_resolved("NebulaGCFailover", since, RESOLVED_SECONDS))
        self.row(step, "ReplicaOffline fires after",
                 self.watch.await_firing("NebulaGCReplicaOffline", since, OFFLINE_SECONDS))
        self.check_reads(step, since)
        back = time.monotonic()
        self.served.power_on(old)
        self.row("it is on again", "ReplicaOffline is resolved after",
                 self.watch.await_resolved("NebulaGCReplicaOffline", back, RESOLVED_SECONDS))
        self.await_healthy("it is on again", back)

    def cut_primary(self):
        step = "the primary is cut off"
        old, since = self.master(), time.monotonic()
        network, number = self.served.world.network, self.served.world[old].number
        network.cut(number)
        try:
            self.await_failover(step, old, since)
            self.check_reads(step, since)
        finally:
            network.join(number)
        self.await_healthy("it is joined again", time.monotonic())

    def cut_primary_from_nodes(self):
        """Prometheus and the balancers see both sides: here two masters would be seen, and written to."""
        step = "the primary is cut off from nodes only"
        old, since = self.master(), time.monotonic()
        others = [self.served.world[name].number for name in NODES if name != old]
        self.filter(old, others, "-A")
        try:
            self.await_failover(step, old, since)
            self.check_reads(step, since)
        finally:
            self.filter(old, others, "-D")
        self.await_healthy("they are joined again", time.monotonic())

    def lose_majority(self):
        """The master is left alone: nobody but itself can tell that it is none any more."""
        step = "two machines of three are off"
        alone, since = self.master(), time.monotonic()
        lost = [name for name in NODES if name != alone]
        for name in lost:
            self.served.power_off(name)
        self.row(step, "NoMaster fires after", self.watch.await_firing("NebulaGCNoMaster", since, FIRING_SECONDS))
        back = time.monotonic()
        for name in lost:
            self.served.power_on(name)
        for name, writer in self.traffic.writers.items():
            writer.await_success(back, HEALING_SECONDS)
            self.row(step, f"{name}: no write for", writer.gap(since))
        self.row("they are on again", "NoMaster is resolved after",
                 self.watch.await_resolved("NebulaGCNoMaster", back, HEALING_SECONDS))
        self.await_healthy("they are on again", back)

    # MARK: Parts of steps

    def master(self):
        return until("one server is the master", lambda: self.served.masters(), FAILOVER_SECONDS)[0]

    def filter(self, node, others, what):
        for chain in ("INPUT", "OUTPUT"):
            self.served.world.network.filter(chain, self.served.world[node].number, others, what)

    def await_failover(self, step, old, since):
        for name, writer in self.traffic.writers.items():
            writer.await_success(since + 0.5, FAILOVER_SECONDS)
        # Two of each, so that the gap is over and not only interrupted.
        again = time.monotonic()
        for writer in self.traffic.writers.values():
            writer.await_success(again, FAILOVER_SECONDS)
        for name, writer in self.traffic.writers.items():
            self.row(step, f"{name}: no write for", writer.gap(since))
        others = [name for name in NODES if name != old]
        if len(found := self.served.masters(others)) != 1:
            raise Problem(f"{step}: writes succeed, but masters are {found}")
        self.row(step, "Failover fires after",
                 self.watch.await_firing("NebulaGCFailover", since, FIRING_SECONDS))

    def check_reads(self, step, since):
        """Reads that began when balancers could know succeed; those before are only counted."""
        known = since + READ_GRACE_SECONDS
        for reader in self.traffic.readers.values():
            reader.await_success(known, FAILOVER_SECONDS)
            failures = reader.failures(since)
            self.say(f"{step}: {reader.name}: {len(failures)} failed: {failures}")
            if any(began > READ_GRACE_SECONDS for began, _, _ in failures):
                raise Problem(f"{step}: {reader.name} fail after {READ_GRACE_SECONDS} s")

    def await_healthy(self, step, since):
        """All are back, nothing is wrong, and what was confirmed is everywhere."""
        until("every node is ready", lambda: all(map(self.served.is_ready, NODES)), HEALING_SECONDS)
        until("one server is the master", lambda: len(self.served.masters()) == 1, HEALING_SECONDS)
        self.watch.await_quiet(RESOLVED_SECONDS)
        self.row(step, "no alert is left after", time.monotonic() - since)
        self.await_rows(step)

    def await_rows(self, step):
        confirmed = self.traffic.confirmed()
        for name in NODES:
            until(f"{step}: {name} has all {len(confirmed)} rows",
                  lambda: (rows := self.served.rows(name)) is not None
                  and self.traffic.check_rows(name, rows, confirmed), HEALING_SECONDS)

    def check_masters(self):
        if "NebulaGCSplitBrain" in self.watch.ever("firing"):
            raise Problem("SplitBrain has fired")
        if (longest := self.watch.longest_two_masters()) > self.tolerance:
            raise Problem(f"there were two masters for {longest:.1f} s")

    def summary(self):
        for step, what, seconds in self.table:
            print(f"  {step:40} {what:36} {seconds:6.1f} s")
        if self.watch and self.table:
            print(f"  two masters in scrapes at the same time: {self.watch.longest_two_masters():.1f} s at most"
                  f" ({self.tolerance:g} s are allowed)")
            print(f"  alerts that fired: {', '.join(sorted(self.watch.ever('firing')))}", flush=True)

    def stop(self):
        if self.traffic:
            self.traffic.stop()
        self.served.stop()


def failed(clients, since):
    return {client.name: found for client in clients if (found := client.failures(since))}


def end(number, _):
    raise Problem(f"ended by signal {signal.Signals(number).name} (all may take {LIMIT_SECONDS} s)")


def main():
    for program in ("haproxy", "nginx", "prometheus"):
        if not shutil.which(program):
            sys.exit(f"alerts: there is no {program}; install the packages haproxy, nginx and prometheus")
    if unknown := set(sys.argv[2:]) - set(STEPS):
        sys.exit(f"alerts: there is no step {', '.join(unknown)}; there are {', '.join(STEPS)}")
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    signal.alarm(LIMIT_SECONDS)
    test = AlertsTest(os.path.abspath(sys.argv[1]), sys.argv[2:] or STEPS)
    problem = None
    try:
        try:
            test.run()
        except Problem as error:
            problem = error
            print(test.served.world.logs(), flush=True)
        test.summary()
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(STOP_SECONDS)
        test.stop()
    if problem:
        sys.exit(f"alerts: FAILED: {problem}")
    print("alerts: everything was noticed, and nothing lost")


BEGAN = time.monotonic()
if __name__ == "__main__":
    main()

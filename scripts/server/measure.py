"""Measures the control-plane server on nodes of this machine: requests, start, memory.

usage: measure.py BINARIES

BINARIES is a directory with `halite` and `nebulagc-server`. One node with a server, then three voters on loopback with a
server on each, once with `sync: async` and once with `sync: quorum`; all run on the same processors as `wrk` (package
wrk), which asks.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "shared")]
from nodes import LOOPBACK, Node, Problem, command, die_with_parent, free_port  # noqa: E402

SECONDS = 10
# Of reads, in turns on both servers.
ROUNDS = 5
# Connections that `wrk` keeps, for reads and for writes.
READERS, WRITERS = 32, 64
WRITES = """\
local thread, counter = 0, 0
function setup(thread_) thread = thread + 1; thread_:set("id", thread) end
function request()
  counter = counter + 1
  return wrk.format("POST", "/api/v1/nodes", wrk.headers,
    string.format('{"name":"%s-%d-%d"}', os.getenv("NAMES"), id, counter))
end
"""


class Server:
    def __init__(self, binary, node):
        self.binary, self.node, self.port = binary, node, free_port()
        self.environment = os.environ | {
            "NEBULAGC_DB_PATH": f"{node.mount}/nebulagc.db", "NEBULAGC_RATELIMIT": "off",
            "NEBULAGC_HMAC_SECRET": "0123456789abcdef0123456789abcdef", "NEBULAGC_LOG_LEVEL": "warning",
            "NEBULAGC_LISTEN_ADDR": f"{LOOPBACK}:{self.port}",
            "NEBULAGC_PUBLIC_URL": f"http://{LOOPBACK}:{self.port}",
        }
        self.process = None

    @property
    def url(self):
        return f"http://{LOOPBACK}:{self.port}"

    def start(self):
        """Seconds until it is ready."""
        begun = time.monotonic()
        with open(f"{self.node.home}/server.log", "ab") as log:
            self.process = subprocess.Popen(
                [self.binary], env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=die_with_parent)
        while not self.answers("/health/ready"):
            if time.monotonic() - begun > 60:
                raise Problem(f"the server of {self.node.name} is not ready; see {self.node.home}/server.log")
            time.sleep(0.005)
        return time.monotonic() - begun

    def answers(self, path):
        try:
            with urllib.request.urlopen(self.url + path, timeout=5):
                return True
        except OSError:
            return False

    def admin(self, *words):
        done = subprocess.run(
            [self.binary, "admin", *words], env=self.environment, check=True, stdout=subprocess.PIPE, text=True)
        return dict(line.split("=", 1) for line in done.stdout.splitlines())

    def megabytes(self):
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) / 1024

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)


def wrk(url, token, connections, script=None, names=""):
    """Requests a second, the 50th and 99th percentile, and what else is to be known."""
    words = ["wrk", "-t2", f"-c{connections}", f"-d{SECONDS}s", "--latency",
             "-H", f"X-NebulaGC-Node-Token: {token}"]
    if script:
        words += ["-s", script]
    done = subprocess.run(
        [*words, f"{url}/api/v1/nodes"], check=True, stdout=subprocess.PIPE, text=True,
        timeout=SECONDS + 30, env=os.environ | {"NAMES": names}, preexec_fn=die_with_parent)
    text = done.stdout
    errors = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return {
        "rate": float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]),
        "p50": re.search(r"^\s+50%\s+(\S+)", text, re.M)[1], "p99": re.search(r"^\s+99%\s+(\S+)", text, re.M)[1],
        "errors": int(errors[1]) if errors else 0, "sockets": "Socket errors" in text,
    }


def say(what, found):
    errors = f", {found['errors']} REFUSED" if found["errors"] else ""
    errors += ", SOCKET ERRORS" if found["sockets"] else ""
    print(f"{what}: {found['rate']:.0f}/s, p50 {found['p50']}, p99 {found['p99']}{errors}", flush=True)


class Measurement:
    def __init__(self, binaries, sync, voters):
        self.sync = sync
        self.root = tempfile.mkdtemp(prefix="halite-server-", dir="/var/tmp")
        halite = os.path.join(binaries, "halite")
        made = command([halite, "cert", "init", "--dir", f"{self.root}/certs"])
        if made.returncode:
            raise Problem(made.stderr)
        ports = [free_port() for _ in range(voters)]
        peers = ", ".join(f'node{number}: "{LOOPBACK}:{port}"' for number, port in enumerate(ports, 1))
        lease = f"type: quorum, ttl: 2s, quorum: {{peers: {{{peers}}}}}"
        self.nodes = [
            Node(halite, self.root, number, port, lease, "retention: 10m", sync=sync)
            for number, port in enumerate(ports, 1)
        ]
        self.servers = [Server(os.path.join(binaries, "nebulagc-server"), node) for node in self.nodes]

    def run(self):
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait_ready()
        for server in self.servers:
            server.start()
        deadline = time.monotonic() + 30
        while not (masters := [server for server in self.servers if server.answers("/health/master")]):
            if time.monotonic() > deadline:
                raise Problem("no server becomes the master")
            time.sleep(0.1)
        master = masters[0]
        others = [server for server in self.servers if server is not master]
        master.admin("tenant", "acme")
        token = master.admin("cluster", "prod", "--tenant", "acme")["node_token"]
        for server in others:
            while not server.answers("/health/ready"):
                time.sleep(0.1)
        if self.sync == "async":
            self.reads([master] + others[:1], token)
        if others:
            self.writes(master, others[0], token)
            self.starts(master)

    @staticmethod
    def reads(servers, token):
        rounds = [[wrk(server.url, token, READERS) for server in servers] for _ in range(ROUNDS)]
        whose = ("the primary's server", "a replica's server") if len(servers) > 1 else ("one node",)
        for place, what in enumerate(whose):
            found = sorted((round_[place] for round_ in rounds), key=lambda one: one["rate"])
            say(f"GET nodes, {what}, least of {ROUNDS} rounds", found[0])
            say(f"GET nodes, {what}, median", found[ROUNDS // 2])
            say(f"GET nodes, {what}, most", found[-1])

    def writes(self, master, replica, token):
        script = f"{self.root}/writes.lua"
        with open(script, "w", encoding="utf-8") as file:
            file.write(WRITES)
        say(f"POST nodes, the primary's server, {self.sync}", wrk(master.url, token, WRITERS, script, "p"))
        say(f"POST nodes, a replica's server, {self.sync}", wrk(replica.url, token, WRITERS, script, "r"))

    def starts(self, master):
        memory = [f"{server.megabytes():.0f}" for server in self.servers]
        master.stop()
        starts = []
        for _ in range(5):
            starts.append(master.start())
            if len(starts) < 5:
                master.stop()
        print(f"resident memory of the servers afterwards: {', '.join(memory)} MB; of one just started "
              f"{master.megabytes():.0f}; start to ready {sorted(starts)[2]:.2f} s (longest {max(starts):.2f})", flush=True)

    def stop(self):
        for server in self.servers:
            server.stop()
        for node in reversed(self.nodes):
            node.remove()
        shutil.rmtree(self.root, ignore_errors=True)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not shutil.which("wrk"):
        sys.exit("there is no wrk; install the package wrk")
    for voters, sync in ((1, "async"), (3, "async"), (3, "quorum")):
        measurement = Measurement(sys.argv[1], sync, voters)
        try:
            measurement.run()
        except Problem as problem:
            sys.exit(str(problem))
        finally:
            measurement.stop()


main()

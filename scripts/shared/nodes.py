"""Nodes and applications as processes, and what can be measured of them.

Nothing here touches a mount: whoever does can wait for ever.
"""

import ctypes
import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.request


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


LOOPBACK = "127.0.0.1"
HTTP_PORT = 20202


class Problem(Exception):
    """What must not happen."""


def command(words, seconds=60):
    try:
        return subprocess.run(
            words, capture_output=True, timeout=seconds, text=True, preexec_fn=die_with_parent
        )
    except subprocess.TimeoutExpired as error:
        raise Problem(f"{' '.join(words)} does not end within {seconds} s") from error


class Node:
    """One `halite mount`."""

    def __init__(self, halite, root, number, port, lease, settings, host=LOOPBACK, sync="async", more=""):
        self.halite, self.name = halite, f"node{number}"
        self.home = os.path.join(root, self.name)
        self.mount = os.path.join(self.home, "mnt")
        self.data = os.path.join(self.home, "data")
        self.process = None
        os.makedirs(self.mount)
        made = command([halite, "cert", "issue", "--dir", f"{root}/certs", "--name", self.name,
                        "--host", host])
        if made.returncode:
            raise Problem(f"cert issue: {made.stderr}")
        self.http = free_port() if host == LOOPBACK else HTTP_PORT
        self.host = host
        # Words before the command, as for a network of its own.
        self.inside = []
        self.configuration = os.path.join(self.home, "halite.yml")
        with open(self.configuration, "w") as file:
            file.write(f"""
fuse: {{dir: mnt}}
data: {{dir: data, {settings}}}
http: {{addr: "{host}:{self.http}"}}
replication:
  addr: "{host}:{port}"
  advertise: "{host}:{port}"
  sync: {sync}
  tls: {{ca: ../certs/ca.pem, cert: ../certs/{self.name}.pem, key: ../certs/{self.name}-key.pem}}
lease: {{hostname: {self.name}, {lease}}}
{more}
""")

    def start(self):
        self.log = open(os.path.join(self.home, "log"), "a")
        self.process = subprocess.Popen(
            [*self.inside, self.halite, "mount", "--config", self.configuration],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
        )

    def kill(self, number):
        self.process.send_signal(number)

    def crash(self):
        self.kill(signal.SIGKILL)
        self.process.wait(30)
        self.start()

    def restart(self):
        self.kill(signal.SIGTERM)
        try:
            code = self.process.wait(60)
        except subprocess.TimeoutExpired:
            raise Problem(f"{self.name} does not stop within 60 s")
        if code != 0:
            raise Problem(f"{self.name} stops with exit code {code}")
        self.start()

    def check_alive(self):
        code = self.process.poll()
        if code is not None:
            raise Problem(f"{self.name} ended by itself with {code}; see {self.home}/log")

    def status(self):
        """Nil while the node does not answer."""
        try:
            with urllib.request.urlopen(f"http://{self.host}:{self.http}/status", timeout=5) as file:
                return json.load(file)
        except OSError:
            return None

    def wait_ready(self, seconds=60):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.check_alive()
            status = self.status()
            if status and status["node"]["ready"]:
                return
            time.sleep(0.1)
        raise Problem(f"{self.name} is not ready after {seconds} s: {self.status()}")

    def positions(self):
        status = self.status()
        if not status:
            return None
        return {d["name"]: (d["txid"], d["checksum"]) for d in status["databases"]}

    def figures(self):
        """Resident memory and log in MiB, descriptors, threads."""
        proc = f"/proc/{self.process.pid}"
        try:
            with open(proc + "/status") as file:
                fields = dict(line.split(":", 1) for line in file if ":" in line)
            descriptors = len(os.listdir(proc + "/fd"))
        except (OSError, ValueError):
            return None
        if "VmRSS" not in fields:
            return None
        size = 0
        for name in os.listdir(self.data + "/log"):
            try:
                size += os.stat(f"{self.data}/log/{name}").st_size
            except FileNotFoundError:
                pass
        return {
            "memory": int(fields["VmRSS"].split()[0]) / 1024, "log": size / 2**20,
            "descriptors": descriptors, "threads": int(fields["Threads"]),
        }

    def remove(self):
        if self.process and self.process.poll() is None:
            self.kill(signal.SIGCONT)
            self.kill(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill(signal.SIGKILL)
                self.process.wait(20)
        with open("/proc/self/mountinfo") as file:
            if any(line.split()[4] == self.mount for line in file):
                command(["umount", "-l", self.mount], 20)


class Application:
    """A process that is started again when it was killed. What it says is gathered."""

    def __init__(self, words):
        self.words = words
        self.last = 0
        self.counts = {}
        self.violations = []
        self.is_paused = False
        self.lock = threading.Lock()
        self.start()

    def start(self):
        self.is_paused = False
        self.process = subprocess.Popen(
            self.words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=die_with_parent,
        )
        threading.Thread(target=self.listen, args=(self.process,), daemon=True).start()

    def listen(self, process):
        for line in process.stdout:
            # What a killed process was in the middle of saying was not said.
            if not line.endswith("\n"):
                break
            word, _, rest = line.strip().partition(" ")
            with self.lock:
                self.counts[word] = self.counts.get(word, 0) + 1
                if word == "committed":
                    self.committed(rest)
                elif word == "operation":
                    self.operation(json.loads(rest))
                elif word == "violation":
                    self.violations.append(f"{time.time():.2f} {rest}")
                elif process is self.process and word in ("paused", "resumed"):
                    self.is_paused = word == "paused"

    def committed(self, rest):
        self.last = int(rest)

    def operation(self, what):
        """What a client did, and when."""

    def count(self, word):
        with self.lock:
            return self.counts.get(word, 0)

    def check(self):
        with self.lock:
            if self.violations:
                raise Problem(f"{' '.join(self.words[2:4])}: {self.violations[0]}")
        if self.process.poll() is not None:
            raise Problem(f"{self.words[2]} ended: {self.process.stderr.read()}")

    def kill_and_restart(self):
        self.process.kill()
        self.process.wait(30)
        self.start()

    def stop(self):
        self.process.kill()

"""Two nodes of Halite on this machine: a primary, and a replica that follows it."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request

READY_SECONDS = 60
STOP_SECONDS = 30


class Trouble(Exception):
    """What the run cannot go on without."""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def mounted(path):
    with open("/proc/self/mountinfo") as table:
        return any(line.split()[4] == path for line in table)


class Node:
    """One `halite mount` process with its files."""

    def __init__(
        self, halite, home, name, certificates, port, primary, everybody, passthrough="on"
    ):
        self.halite, self.home, self.name = halite, home, name
        self.mount, self.log = home + "/mnt", home + "/log"
        self.http = free_port()
        self.process = None
        os.makedirs(self.mount)
        tls = ", ".join(
            f"{key}: {certificates}/{file}.pem"
            for key, file in (("ca", "ca"), ("cert", name), ("key", name + "-key"))
        )
        with open(home + "/halite.yml", "w") as file:
            file.write(
                f"fuse: {{dir: {self.mount}, allow-other: {str(everybody).lower()}, "
                f"passthrough: {passthrough}}}\n"
                f"data: {{dir: {home}/data}}\n"
                f'http: {{addr: "127.0.0.1:{self.http}"}}\n'
                f'replication: {{addr: "127.0.0.1:{port}", advertise: "127.0.0.1:{port}",\n'
                f"              tls: {{{tls}}}}}\n"
                f"lease: {{type: static, hostname: {name}, primary: \"127.0.0.1:{primary}\"}}\n"
            )

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.halite, "mount", "--config", self.home + "/halite.yml"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if self.status()["node"]["ready"]:
                    return
            except (OSError, ValueError):
                pass
            time.sleep(0.1)
        raise Trouble(f"{self.name} did not become ready:\n{self.log_tail()}")

    def status(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/status", timeout=10) as answer:
            return json.load(answer)

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def memory(self):
        """Bytes of resident memory."""
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def data_bytes(self):
        """Bytes of the node's log on disk."""
        total = 0
        for folder, _, names in os.walk(self.home + "/data/log"):
            total += sum(os.path.getsize(os.path.join(folder, name)) for name in names)
        return total

    def log_size(self):
        return os.path.getsize(self.log)

    def complaints(self, start):
        """Warnings and errors in the log from a byte on."""
        with open(self.log, errors="replace") as file:
            file.seek(start)
            return [
                line.rstrip() for line in file
                if any(level in line for level in (" warning ", " error ", " critical ", "atal "))
            ]

    def log_tail(self):
        with open(self.log, errors="replace") as file:
            return "".join(file.readlines()[-20:])

    def stop(self):
        if self.process is None:
            return
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            print(f"conformance: {self.name} did not stop and was killed")
        if mounted(self.mount):
            subprocess.run(["umount", "-l", self.mount], check=False)


def start_pair(halite, home, everybody, passthrough="on"):
    """A primary and its replica, both ready."""
    certificates = home + "/certs"

    def make(*arguments):
        subprocess.run(
            [halite, "cert", *arguments, "--dir", certificates], check=True, timeout=60,
            stdout=subprocess.DEVNULL,
        )

    make("init")
    first, second = free_port(), free_port()
    nodes = []
    for name, port in (("primary", first), ("replica", second)):
        make("issue", "--name", name, "--host", "127.0.0.1")
        nodes.append(
            Node(halite, f"{home}/{name}", name, certificates, port, first, everybody, passthrough)
        )
    try:
        for node in nodes:
            node.start()
    except BaseException:
        for node in nodes:
            node.stop()
        raise
    return nodes

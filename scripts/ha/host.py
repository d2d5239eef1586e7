"""Hosts for the tests of docs/ha.md: namespaces with services, users and configuration of their own.

On each, the command blocks of the document run as they stand. What a host shares with this machine is its programs; what
it writes under /etc, /usr/local, /var/lib, /var/log, /root and /run is its own and gone with it.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "cluster"), os.path.join(HERE, "..", "shared")]
from network import Network  # noqa: E402
from nodes import Problem, die_with_parent  # noqa: E402

REPOSITORY = os.path.abspath(os.path.join(HERE, "..", ".."))
START_SECONDS = 20
# Not one below /root, which hosts have of their own.
PYTHON = "/usr/bin/python3"


class Host:
    def __init__(self, name, number, world):
        self.name, self.number, self.world = name, number, world
        self.home = f"{world.directory}/{name}"
        self.process = self.pid = None

    @property
    def address(self):
        return self.world.network.address(self.number)

    def begin_start(self):
        """Its network is there; its processes begin. Also after `power_off`, with what was on its disk."""
        os.makedirs(self.home, exist_ok=True)
        log = open(f"{self.world.directory}/{self.name}.init", "ab")
        self.process = subprocess.Popen(
            [*self.world.network.inside(self.number), "unshare", "--mount", "--pid", "--uts", "--fork",
             "--kill-child", PYTHON, f"{HERE}/init.py", self.name, self.home, self.world.hosts,
             self.world.release, self.world.tools or ""],
            env=self.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent)

    def start(self):
        self.begin_start()
        self.finish_start()

    def finish_start(self):
        self.pid = self.wait_for_init()

    def wait_for_init(self):
        children = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with open(children, encoding="utf-8") as file:
                pids = file.read().split()
            if pids and os.path.exists(f"/proc/{pids[0]}/root/run/services.sock"):
                return int(pids[0])
            time.sleep(0.02)
        with open(f"{self.world.directory}/{self.name}.init", encoding="utf-8") as file:
            raise Problem(f"{self.name} does not start: {file.read()}")

    def inside(self):
        """Words before a command that runs on the host."""
        return ["nsenter", "--target", str(self.pid), "--mount", "--pid", "--net", "--uts", "--wdns=/root"]

    def environment(self):
        return {"PATH": "/run/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root",
                "LANG": "C.UTF-8", "TERM": "dumb", "USER": "root"}

    def run(self, script, seconds=60):
        """Output of a script of the shell, which ends with its first command that fails."""
        try:
            done = subprocess.run(
                [*self.inside(), "bash", "-euo", "pipefail", "-c", script], env=self.environment(),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                timeout=seconds, preexec_fn=die_with_parent)
        except subprocess.TimeoutExpired as error:
            text = (error.stdout or b"").decode(errors="replace")
            raise Problem(f"{self.name}: not done within {seconds} s:\n{script}\n{text}") from error
        if done.returncode:
            raise Problem(f"{self.name}: exit code {done.returncode}:\n{script}\n{done.stdout}")
        return done.stdout

    def begin(self, words, **options):
        """A command that goes on beside the tests."""
        return subprocess.Popen(
            [*self.inside(), *words], env=self.environment(), stdin=subprocess.DEVNULL,
            preexec_fn=die_with_parent, **options)

    def power_off(self):
        """All that runs on it is gone at once; its disk stays."""
        if self.process and self.process.poll() is None:
            # The first process of a namespace takes all others with it.
            os.kill(self.pid, 9)
            self.process.wait(START_SECONDS)

    def logs(self, lines=25):
        directory, text = f"{self.home}/log/units", ""
        for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
            with open(f"{directory}/{name}", encoding="utf-8", errors="replace") as file:
                text += f"--- {self.name} {name}\n" + "".join(file.readlines()[-lines:])
        return text


class World:
    """Some hosts on one network, known to each other by name."""

    def __init__(self, names, binaries, tools=None):
        self.tools = tools
        self.directory = tempfile.mkdtemp(prefix="halite-ha-", dir="/var/tmp")
        self.hosts, self.release = f"{self.directory}/hosts", f"{self.directory}/release"
        os.makedirs(self.hosts)
        os.makedirs(self.release)
        for name in ("halite", "nebulagc-server"):
            # Without what only a debugger reads: each host gets a copy.
            subprocess.run(["strip", "-o", f"{self.release}/{name}", os.path.join(binaries, name)], check=True)
        shutil.copytree(f"{REPOSITORY}/deploy", f"{self.release}/deploy")
        self.network = Network(len(names))
        self.all = {name: Host(name, number + 1, self) for number, name in enumerate(names)}

    def __getitem__(self, name):
        return self.all[name]

    def start(self):
        self.network.start()
        with open(f"{self.hosts}/hosts", "w", encoding="utf-8") as file:
            file.write("127.0.0.1 localhost\n")
            file.writelines(f"{host.address} {host.name}\n" for host in self.all.values())
        # Not in threads: a process ends with the thread that began it.
        for host in self.all.values():
            host.begin_start()
        for host in self.all.values():
            host.finish_start()

    def logs(self):
        return "".join(host.logs() for host in self.all.values())

    def stop(self):
        for host in self.all.values():
            host.power_off()
        self.network.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

"""The first process of a pretended host, which it makes of namespaces of its own: see host.py.

usage: init.py NAME HOME HOSTS RELEASE TOOLS

HOME holds what the host may write, HOSTS the file of all hosts' addresses and a socket for each of them, by which `ssh`
and `scp` (in bin/) run commands there, RELEASE what an operator has unpacked, TOOLS (or nothing) programs that he has installed. It starts services as systemd would, as far as the units under deploy/ and those of
Debian's packages need that: `systemctl` (in bin/) asks for it over a socket.
"""

import os
import pwd
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading

SOCKET = "/run/services.sock"
UNITS = ("/etc/systemd/system", "/lib/systemd/system")
WANTED = f"{UNITS[0]}/halite-ha.target.wants"
LOGS = "/var/log/units"
STOP_SECONDS = 30
# The longest command of `ssh`.
COMMAND_BYTES = 1 << 16


def mount(*words):
    subprocess.run(["mount", *words], check=True)


def build(name, home, hosts, release, tools):
    """Directories of its own, where the host's services and administrator write; all else is this machine's."""
    mount("--make-rprivate", "/")
    for path in ("lib", "log", "root", "etc.up", "etc.work", "local.up", "local.work"):
        os.makedirs(f"{home}/{path}", exist_ok=True)
    os.makedirs("/run", exist_ok=True)
    for path, short in (("/etc", "etc"), ("/usr/local", "local")):
        layers = f"lowerdir={path},upperdir={home}/{short}.up,workdir={home}/{short}.work"
        mount("-t", "overlay", "overlay", "-o", layers, path)
    for tool in os.listdir(tools) if tools else []:
        if not os.path.lexists(f"/usr/local/bin/{tool}"):
            os.symlink(f"{tools}/{tool}", f"/usr/local/bin/{tool}")
    mount("--bind", f"{hosts}/hosts", "/etc/hosts")
    mount("-t", "tmpfs", "tmpfs", "/run")
    for directory in ("hosts", "bin"):
        os.makedirs(f"/run/{directory}")
    mount("--bind", hosts, "/run/hosts")
    mount("--bind", os.path.join(os.path.dirname(os.path.abspath(__file__)), "bin"), "/run/bin")
    if os.path.exists("/usr/bin/systemctl"):
        mount("--bind", "/run/bin/systemctl", "/usr/bin/systemctl")
    subprocess.run(["cp", "-a", f"{release}/.", f"{home}/root/"], check=True)
    mount("-t", "proc", "proc", "/proc")
    mount("--bind", f"{home}/lib", "/var/lib")
    mount("--bind", f"{home}/log", "/var/log")
    mount("--bind", f"{home}/root", "/root")
    for path in (LOGS, "/run/haproxy", "/var/lib/haproxy"):
        os.makedirs(path, exist_ok=True)
    socket.sethostname(name)


def read_unit(name, wanted="[Service]"):
    """Values of a section, each a list."""
    for directory in UNITS:
        path = f"{directory}/{name}.service"
        if os.path.exists(path):
            break
    else:
        raise LookupError(f"Unit {name}.service not found.")
    values, section = {}, ""
    with open(path, encoding="utf-8") as file:
        for line in file.read().replace("\\\n", " ").splitlines():
            line = line.strip()
            if line.startswith("["):
                section = line
            elif section == wanted and "=" in line and line[0] not in "#;":
                key, _, value = line.partition("=")
                values.setdefault(key.strip(), []).append(value.strip())
    return values


def read_environment(path, environment):
    optional = path.startswith("-")
    path = path.removeprefix("-")
    if optional and not os.path.exists(path):
        return
    with open(path, encoding="utf-8") as file:
        for line in file:
            if "=" in line and line[0] not in "#;":
                key, _, value = line.strip().partition("=")
                environment[key] = " ".join(shlex.split(value))


def seconds(text):
    match = re.fullmatch(r"([0-9.]+)\s*(ms|s|min)?", text)
    return float(match[1]) * {"ms": 0.001, "min": 60}.get(match[2], 1)


class Service:
    def __init__(self, name):
        self.name = name
        self.process = None
        self.thread = None
        self.wanted = False
        self.changed = threading.Condition()

    def words(self, line, environment):
        """A command line, with `$NAME` alone split into words as systemd does."""
        words = []
        for word in shlex.split(line.lstrip("-@:+!")):
            if re.fullmatch(r"\$\w+", word):
                words += shlex.split(environment.get(word[1:], ""))
            else:
                words.append(re.sub(r"\$\{(\w+)\}", lambda match: environment.get(match[1], ""), word))
        return words

    def load(self):
        unit = read_unit(self.name)
        # A start is not refused for what only exists once it has started.
        environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        for line in unit.get("Environment", []):
            environment.update(word.split("=", 1) for word in shlex.split(line))
        for path in unit.get("EnvironmentFile", []):
            read_environment(path, environment)
        return unit, environment

    def execute(self, line, unit, environment, log):
        options = {}
        user = unit.get("User", [None])[-1]
        if user and not line.startswith(("+", "!")):
            entry = pwd.getpwnam(user)
            options = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        return subprocess.Popen(
            self.words(line, environment), env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True, cwd=unit.get("WorkingDirectory", ["/"])[-1],
            umask=int(unit.get("UMask", ["0022"])[-1], 8), **options)

    def start(self):
        self.load()
        with self.changed:
            if self.wanted:
                return
            self.wanted = True
        if self.thread:
            self.thread.join()
        # `start` comes back once the command runs, or could not be run.
        begun = threading.Event()
        self.thread = threading.Thread(target=self.supervise, args=(begun,), daemon=True)
        self.thread.start()
        begun.wait()

    def supervise(self, begun):
        while True:
            try:
                unit, environment = self.load()
                with open(f"{LOGS}/{self.name}.log", "ab", 0) as log:
                    code = self.run_once(unit, environment, log, begun)
            except (OSError, LookupError, KeyError) as error:
                unit, code = {}, 1
                with open(f"{LOGS}/{self.name}.log", "a", encoding="utf-8") as log:
                    log.write(f"{self.name}: {error}\n")
            begun.set()
            again = unit.get("Restart", ["no"])[-1]
            with self.changed:
                if again == "no" or (again == "on-failure" and code == 0):
                    self.wanted = False
                pause = seconds(unit.get("RestartSec", ["100ms"])[-1])
                self.changed.wait_for(lambda: not self.wanted, pause)
                if not self.wanted:
                    return

    def run_once(self, unit, environment, log, begun):
        for line in unit.get("ExecStartPre", []):
            if self.execute(line, unit, environment, log).wait() and not line.startswith("-"):
                return 1
        with self.changed:
            if not self.wanted:
                return 0
            self.process = self.execute(unit["ExecStart"][-1], unit, environment, log)
        begun.set()
        for line in unit.get("ExecStartPost", []):
            self.execute(line, unit, environment, log)
        code = self.process.wait()
        for line in unit.get("ExecStopPost", []):
            self.execute(line, unit, environment, log).wait()
        with self.changed:
            self.process = None
        return code

    def signal(self, number):
        with self.changed:
            process = self.process
        if process:
            try:
                os.killpg(process.pid, number)
            except ProcessLookupError:
                pass

    def stop(self):
        with self.changed:
            self.wanted = False
            self.changed.notify_all()
        if not self.thread:
            return
        self.signal(signal.SIGTERM)
        limit = STOP_SECONDS
        if (unit := read_unit(self.name)).get("TimeoutStopSec"):
            limit = seconds(unit["TimeoutStopSec"][-1])
        self.thread.join(limit)
        if self.thread.is_alive():
            self.signal(signal.SIGKILL)
            self.thread.join()

    def reload(self):
        unit, environment = self.load()
        with self.changed:
            process = self.process
        if process is None:
            raise LookupError(f"{self.name}.service is not active, cannot reload.")
        environment["MAINPID"] = str(process.pid)
        with open(f"{LOGS}/{self.name}.log", "ab", 0) as log:
            for line in unit["ExecReload"]:
                self.execute(line, unit, environment, log).wait()

    def enable(self, is_wanted):
        """Whether it starts with the host. systemd itself would say a word and go on."""
        if is_wanted and "WantedBy" not in read_unit(self.name, "[Install]"):
            raise LookupError(f"{self.name}.service has no WantedBy= in [Install], and would not start with the machine.")
        os.makedirs(WANTED, exist_ok=True)
        path = f"{WANTED}/{self.name}.service"
        if is_wanted and not os.path.lexists(path):
            os.symlink(f"../{self.name}.service", path)
        elif not is_wanted and os.path.lexists(path):
            os.unlink(path)

    def is_active(self):
        with self.changed:
            return self.process is not None


class Services:
    def __init__(self):
        self.all = {}
        self.lock = threading.Lock()

    def service(self, name):
        name = name.removesuffix(".service")
        read_unit(name)
        with self.lock:
            return self.all.setdefault(name, Service(name))

    def answer(self, words):
        """Exit code and what is printed."""
        names, number = [], signal.SIGTERM
        rest = iter(words)
        for word in rest:
            if word in ("-s", "--signal"):
                number = signal.Signals["SIG" + next(rest).removeprefix("SIG")]
            elif not word.startswith("-"):
                names.append(word)
        verb, *names = names
        services = [self.service(name) for name in names]
        if verb == "is-active":
            states = ["active" if service.is_active() else "inactive" for service in services]
            return 0 if "inactive" not in states else 3, "\n".join(states) + "\n"
        for service in services:
            again = verb == "restart" or (verb == "try-restart" and service.is_active())
            if verb in ("enable", "disable"):
                service.enable(verb == "enable")
            if verb == "stop" or again or (verb == "disable" and "--now" in words):
                service.stop()
            if verb == "start" or again or (verb == "enable" and "--now" in words):
                service.start()
            if verb == "kill":
                service.signal(number)
            if verb == "reload":
                service.reload()
        known = ("start", "stop", "restart", "try-restart", "reload", "enable", "disable", "kill", "daemon-reload")
        return (0, "") if verb in known else (1, f"Unknown command verb {verb}.\n")

    def serve(self, name):
        threading.Thread(target=serve_shell, args=(f"/run/hosts/{name}.sock",), daemon=True).start()
        for unit in sorted(os.listdir(WANTED)) if os.path.isdir(WANTED) else []:
            self.service(unit).start()
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(SOCKET)
        listener.listen()
        while True:
            threading.Thread(target=self.converse, args=(listener.accept()[0],), daemon=True).start()

    def converse(self, connection):
        with connection, connection.makefile("rw", encoding="utf-8") as stream:
            try:
                code, text = self.answer(shlex.split(stream.readline()))
            except (LookupError, OSError) as error:
                code, text = 5, f"{error}\n"
            stream.write(f"{code}\n{text}")


def serve_shell(path):
    """Runs what other hosts' `ssh` asks for, with its standard input and output."""
    if os.path.exists(path):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    while True:
        threading.Thread(target=run_shell, args=(listener.accept()[0],), daemon=True).start()


def run_shell(connection):
    with connection:
        command, streams, _, _ = socket.recv_fds(connection, COMMAND_BYTES, 3)
        code = subprocess.run(
            ["bash", "-c", command.decode()], stdin=streams[0], stdout=streams[1], stderr=streams[2], cwd="/root",
            start_new_session=True, check=False).returncode
        for stream in streams:
            os.close(stream)
        connection.sendall(str(code).encode())


if __name__ == "__main__":
    build(*sys.argv[1:])
    Services().serve(sys.argv[1])

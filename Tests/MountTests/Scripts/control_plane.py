"""Runs the control-plane server on each of several mounts, kills the primary with its server, and looks on.

usage: control_plane.py SERVER DIRECTORY MOUNT:PROCESS...

PROCESS is the daemon of the mount. Every server has to come up, replicas included, and exactly one may call itself the
master; each has to take writes and to show those of all others. After the kill another one must become the master
while the others go on answering reads, and every node that was confirmed must be there.
"""

import ctypes
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time

SERVER, DIRECTORY = sys.argv[1:3]
PATIENCE = 30
PR_SET_PDEATHSIG = 1


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def end_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Server:
    def __init__(self, number, mount, daemon):
        self.mount, self.daemon, self.port = mount, int(daemon), free_port()
        self.environment = os.environ | {
            "NEBULAGC_DB_PATH": f"{mount}/nebula.db",
            "NEBULAGC_HMAC_SECRET": "0123456789abcdef0123456789abcdef",
            "NEBULAGC_LISTEN_ADDR": f"127.0.0.1:{self.port}",
            "NEBULAGC_PUBLIC_URL": f"http://127.0.0.1:{self.port}",
            "NEBULAGC_HEARTBEAT_SECONDS": "1",
            "NEBULAGC_RATELIMIT": "off",
        }
        self.log = f"{DIRECTORY}/server{number}.log"
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [SERVER], env=self.environment, stdout=log, stderr=log, preexec_fn=end_with_parent)

    def admin(self, *arguments):
        """What a command of the administrator prints, as a dictionary."""
        output = subprocess.run(
            [SERVER, "admin", *arguments], env=self.environment, check=True, stdout=subprocess.PIPE, text=True).stdout
        return dict(line.split("=", 1) for line in output.splitlines())

    def ask(self, method, path, token=None, body=None):
        """Status and object of an answer; status 0 for none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            headers = {"X-NebulaGC-Node-Token": token} if token else {}
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text[:1] == b"{" else text.decode()
        except OSError as error:
            return 0, str(error)
        finally:
            connection.close()

    def is_master(self):
        return self.ask("GET", "/health/master")[0] == 200

    def names(self, token):
        status, answer = self.ask("GET", "/api/v1/nodes?page_size=500", token)
        return {node["name"] for node in answer["data"]["nodes"]} if status == 200 else None

    def explain(self):
        with open(self.log, encoding="utf-8") as log:
            lines = [line for line in log.readlines() if " Request" not in line]
        return f"{self.mount}: " + "".join(lines[-15:])


def wait_for(what, servers, condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"waited {PATIENCE} s for {what}\n" + "\n".join(server.explain() for server in servers))
        time.sleep(0.02)


def write(server, token, name, confirmed):
    status, answer = server.ask("POST", "/api/v1/nodes", token, {"name": name})
    if status == 201:
        confirmed.add(name)
    return status, answer


def run(servers):
    begun = time.monotonic()
    for server in servers:
        server.start()
    for server in servers:
        wait_for(f"{server.mount} to be ready", servers, lambda: server.ask("GET", "/health/ready")[0] == 200)
    print(f"ready after {time.monotonic() - begun:.2f} s")
    wait_for("one master", servers, lambda: [server.is_master() for server in servers].count(True) == 1)
    servers[-1].admin("tenant", "acme")
    token = servers[-1].admin("cluster", "prod", "--tenant", "acme")["node_token"]
    confirmed = {"admin"}
    for number, server in enumerate(servers):
        wait_for("the token", servers, lambda: server.names(token) is not None)
        for count in range(10):
            status, answer = write(server, token, f"node-{number}-{count}", confirmed)
            if status != 201:
                sys.exit(f"{server.mount} answers a write with {status} {answer}\n{server.explain()}")
    for server in servers:
        wait_for("the writes of all", servers, lambda: server.names(token) == confirmed)
        wait_for("two replicas", servers, lambda: "nebulagc_ha_replicas_total 2\n" in server.ask("GET", "/metrics")[1])
    fail_over(servers, token, confirmed)


def fail_over(servers, token, confirmed):
    master = next(server for server in servers if server.is_master())
    others = [server for server in servers if server is not master]
    os.kill(master.daemon, signal.SIGKILL)
    master.process.kill()
    print(f"killed {master.mount}")
    begun, number, first = time.monotonic(), 0, None
    while not any(server.is_master() for server in others) or first is None:
        if time.monotonic() - begun > PATIENCE:
            sys.exit("nobody became the master\n" + "\n".join(server.explain() for server in others))
        for server in others:
            if server.names(token) is None:
                sys.exit(f"{server.mount} did not answer a read\n{server.explain()}")
        number += 1
        if write(others[number % 2], token, f"after-{number}", confirmed)[0] == 201 and first is None:
            first = time.monotonic() - begun
    print(f"a write after {first:.2f} s, a new master after {time.monotonic() - begun:.2f} s")
    if all(server.is_master() for server in others):
        sys.exit("two masters")
    for server in others:
        wait_for("all that was confirmed", others, lambda: confirmed <= server.names(token))
    for server in others:
        server.process.terminate()
        if server.process.wait(timeout=20) != 0:
            sys.exit(f"a server ended with {server.process.returncode}\n{server.explain()}")


SERVERS = [Server(number, *argument.rsplit(":", 1)) for number, argument in enumerate(sys.argv[3:])]
try:
    run(SERVERS)
finally:
    for each in SERVERS:
        if each.process and each.process.poll() is None:
            each.process.kill()

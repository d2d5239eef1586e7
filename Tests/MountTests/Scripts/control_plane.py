"""Runs the control-plane server on each of several mounts, kills the primary with its server, and looks on.

usage: control_plane.py SERVER DIRECTORY MOUNT:PROCESS...

PROCESS is the daemon of the mount. Every server has to come up, replicas included, and exactly one may call itself the
master; each has to take writes and to show those of all others. After the kill another one must become the master
while the others go on answering reads, and every node that was confirmed must be there.
"""

import os
import signal
import sys
import time

from control_plane_server import PATIENCE, Server, wait_for

SERVER, DIRECTORY = sys.argv[1:3]


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


SERVERS = []
for argument in sys.argv[3:]:
    mount, daemon = argument.rsplit(":", 1)
    SERVERS.append(Server(SERVER, DIRECTORY, mount, len(SERVERS)))
    SERVERS[-1].daemon = int(daemon)
try:
    run(SERVERS)
finally:
    for each in SERVERS:
        if each.process and each.process.poll() is None:
            each.process.kill()

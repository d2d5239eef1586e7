"""Runs the control-plane server on a mount that goes away and comes back under it, and looks on.

usage: control_plane_lost.py SERVER DIRECTORY MOUNT ROUNDS

In each round the server takes writes, until the file DIRECTORY/kill-ROUND is made; who sees it kills the daemon, and when
DIRECTORY/lost-ROUND is there starts another one on the same mount point, and makes DIRECTORY/started-ROUND. The server must
say meanwhile that it has no database, answer every request, and serve again by itself. At the end all that was confirmed must be there, nothing
that was refused with 503, and of a write with an unknown outcome either.
"""

import os
import sys
import threading
import time

from control_plane_server import PATIENCE, Server, wait_for

PROGRAM, DIRECTORY, MOUNT, ROUNDS = sys.argv[1:5]
WRITERS = 4
# Writes in a round before the daemon is killed.
WRITES = 40


class Writer(threading.Thread):
    def __init__(self, server, token, number, ends):
        super().__init__(daemon=True)
        self.server, self.token, self.number, self.ends, self.goes_on = server, token, number, ends, True

    def run(self):
        count = 0
        while self.goes_on:
            count += 1
            name = f"node-{self.number}-{count}"
            status, answer = self.server.ask("POST", "/api/v1/nodes", self.token, {"name": name})
            self.ends[name] = status, answer.get("error") if isinstance(answer, dict) else answer
            if status == 503:
                time.sleep(0.02)


def path(name, number):
    return f"{DIRECTORY}/{name}-{number}"


def run(server):
    servers = [server]
    server.start()
    wait_for("the master", servers, server.is_master)
    server.admin("tenant", "acme")
    token = server.admin("cluster", "prod", "--tenant", "acme")["node_token"]
    process, ends = server.process, {}
    writers = [Writer(server, token, number, ends) for number in range(WRITERS)]
    for writer in writers:
        writer.start()

    def made():
        return [end[0] for end in list(ends.values())].count(201)

    for number in range(int(ROUNDS)):
        wait_for("writes", servers, lambda enough=made() + WRITES: made() >= enough)
        open(path("kill", number), "w").close()
        wait_for("the loss", servers, lambda: server.ask("GET", "/health")[0] == 503)
        if server.ask("GET", "/health/live")[0] != 200:
            sys.exit(f"the server does not live\n{server.explain()}")
        open(path("lost", number), "w").close()
        begun = time.monotonic()
        wait_for("the mount", servers, lambda file=path("started", number): os.path.exists(file))
        started = time.monotonic()
        wait_for("the master", servers, server.is_master)
        now = time.monotonic()
        print(f"lost for {now - begun:.2f} s, the master {now - started:.2f} s after the mount")
    wait_for("writes", servers, lambda enough=made() + WRITES: made() >= enough)
    for writer in writers:
        writer.goes_on = False
    for writer in writers:
        writer.join(PATIENCE)
        if writer.is_alive():
            sys.exit(f"a write is not answered\n{server.explain()}")
    check(server, token, ends)
    server.process.terminate()
    if server.process is not process or process.wait(timeout=20) != 0:
        sys.exit(f"the server ended with {process.returncode}\n{server.explain()}")


def check(server, token, ends):
    names, page = set(), 1
    while True:
        status, answer = server.ask("GET", f"/api/v1/nodes?page_size=500&page={page}", token)
        if status != 200:
            sys.exit(f"the nodes cannot be read: {status} {answer}")
        nodes = answer["data"]["nodes"]
        if not nodes:
            break
        names |= {node["name"] for node in nodes}
        page += 1
    counts = {}
    for name, end in sorted(ends.items()):
        counts[end] = counts.get(end, 0) + 1
        if end[0] == 201 and name not in names:
            sys.exit(f"{name} was confirmed and is not there\n{server.explain()}")
        if end[0] == 503 and name in names:
            sys.exit(f"{name} was refused with {end} and is there\n{server.explain()}")
        if end[0] not in (201, 503) and end != (500, "outcome_unknown"):
            sys.exit(f"{name} was answered {end}\n{server.explain()}")
    print(", ".join(f"{count} times {end[0]} {end[1] or ''}".strip() for end, count in sorted(counts.items(), key=str)))


SERVER = Server(PROGRAM, DIRECTORY, MOUNT)
# Longer than the server lets anybody wait.
SERVER.timeout = 45
try:
    run(SERVER)
finally:
    if SERVER.process and SERVER.process.poll() is None:
        SERVER.process.kill()

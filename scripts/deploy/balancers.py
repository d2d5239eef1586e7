#!/usr/bin/env python3
"""Starts haproxy or nginx with the configuration under deploy/ before three servers that stand in for nebulagc-server,
and fails unless writes follow the master, are never repeated, and reads go to whoever is there.

balancers.py haproxy|nginx DIRECTORY, the latter for what the balancer writes.
"""

import http.client
import json
import os
import subprocess
import sys
import time

from standin import StandIn

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "shared"))
from nodes import free_port  # noqa: E402

DEPLOY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "deploy")
MEGABYTE = 1 << 20
# Until a balancer that checks every half a second has noticed a change, on a busy machine.
PATIENCE = 15


def start_nginx(environment, directory):
    with open(os.path.join(DEPLOY, "nginx", "nginx.conf"), encoding="utf-8") as file:
        text = file.read()
    for name, value in environment.items():
        text = text.replace("${" + name + "}", value)
    text = text.replace("/var/log/nginx", directory)
    # Whoever is not root may not write where the package would.
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    own = "".join(f"    {kind}_temp_path {directory}/{kind};\n" for kind in kinds)
    text = text.replace("http {\n", "http {\n" + own, 1)
    path = os.path.join(directory, "nginx.conf")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    # The workers of root would be another user, who cannot see the directory.
    user = "user root;" if os.geteuid() == 0 else ""
    globals_ = f"daemon off; pid {directory}/nginx.pid; {user}"
    command = ["nginx", "-p", directory, "-c", path, "-g", globals_]
    subprocess.run(command + ["-t", "-q"], check=True)
    return command


def start_haproxy(environment, _):
    command = ["haproxy", "-db", "-f", os.path.join(DEPLOY, "haproxy", "haproxy.cfg")]
    subprocess.run(command + ["-c", "-q"], check=True, env={**os.environ, **environment})
    return command


class Balancer:
    def __init__(self, kind, standins, directory):
        self.port = free_port()
        environment = {"NEBULAGC_BIND": f"127.0.0.1:{self.port}"}
        for number, standin in enumerate(standins, 1):
            environment[f"NEBULAGC_NODE{number}"] = f"127.0.0.1:{standin.port}"
        command = {"nginx": start_nginx, "haproxy": start_haproxy}[kind](environment, directory)
        with open(os.path.join(directory, f"{kind}.log"), "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                command, env={**os.environ, **environment}, stdout=log, stderr=log
            )

    def ask(self, method, path, body=None, headers=None):
        """The status, the headers and what the body says."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        try:
            return answer.status, answer.headers, json.loads(text or b"{}")
        except ValueError:
            return answer.status, answer.headers, {"text": text.decode(errors="replace")}

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def until(what, condition):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if condition():
                return
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.1)
    raise AssertionError(f"not within {PATIENCE} s: {what}")


def expect(what, condition, seen=""):
    if not condition:
        raise AssertionError(f"{what}; seen: {seen}")


def check(kind, balancer, standins):
    one, two, three = standins

    def written():
        return sum(standin.writes for standin in standins)

    # HAProxy takes every server to be well until it has asked; they refuse what they do not take.
    until("no master is a 503", lambda: balancer.ask("POST", "/api/v1/nodes", "{}")[0] == 503)
    before = written()
    status, headers, body = balancer.ask("POST", "/api/v1/nodes", "{}")
    expect("who finds no master is told when to ask again", headers.get("Retry-After") == "1", headers)
    expect("in the shape of the API's errors", {"error", "message"} <= body.keys(), body)
    expect("nothing is written without a master", written() == before, written())

    two.is_master = True
    # Until its checks have found the master HAProxy tries one server after the other, though not with what is larger than its
    # buffer.
    large, headers = b"x" * (10 * MEGABYTE), {"X-Request-ID": "abc-1"}
    until("writes find the master",
          lambda: all(balancer.ask("POST", "/b", large, headers)[0] == 201 for _ in standins))
    expect("10 MiB arrive", two.bytes == 10 * MEGABYTE, two.bytes)
    expect("the request's id arrives", two.headers.get("x-request-id") == "abc-1", two.headers)
    expect("the client's address arrives", two.headers.get("x-forwarded-for") == "127.0.0.1", two.headers)
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        status, _, body = balancer.ask(method, "/api/v1/x%20y?q=1", "{}")
        expect(f"{method} goes to the master", (status, body.get("server")) == (201, "two"), body)
        expect("with path and query as they were", body["path"] == "/api/v1/x%20y?q=1", body)
    status, _, _ = balancer.ask("GET", "/health/master")
    expect("the master's health is seen through the balancer", kind == "haproxy" or status == 200, status)

    if kind == "nginx":
        before = written()
        status, _, body = balancer.ask("POST", "/b", b"x" * (10 * MEGABYTE + 1))
        expect("a byte more is refused", (status, body.get("error")) == (413, "body_too_large"), body)
        expect("before it reaches anybody", written() == before, written() - before)

    for _ in range(9):
        expect("reads are answered", balancer.ask("GET", "/api/v1/nodes")[0] == 200)
    expect("by everybody", all(standin.reads for standin in standins), [s.reads for s in standins])

    for mishap, answers in (("drop", (502, 504)), ("refuse", (503,))):
        two.mishap, before = mishap, written()
        status, _, _ = balancer.ask("POST", "/c", "{}")
        expect(f"a write that met a {mishap} is an error", status in answers, status)
        # A server that says 503 has not made it.
        expect("and was sent once", mishap == "refuse" or written() == before + 1, written() - before)
    two.mishap = None

    two.is_master, three.is_master = False, True
    until("writes follow the master", lambda: balancer.ask("POST", "/d", "{}")[2].get("server") == "three")
    three.stop()
    for _ in range(9):
        expect("reads survive a server's death", balancer.ask("GET", "/e")[0] == 200)
    one.is_master = True
    until("writes follow again", lambda: balancer.ask("POST", "/f", "{}")[2].get("server") == "one")
    three.is_master = False
    three.start()
    before = three.reads
    until("who comes back gets reads", lambda: balancer.ask("GET", "/g")[0] == 200 and three.reads > before)


def main():
    kind, directory = sys.argv[1:]
    standins = [StandIn("one"), StandIn("two"), StandIn("three")]
    balancer = Balancer(kind, standins, directory)
    try:
        check(kind, balancer, standins)
    finally:
        balancer.stop()
    print(f"{kind}: writes follow the master and are sent once; reads go to whoever is there")


if __name__ == "__main__":
    main()

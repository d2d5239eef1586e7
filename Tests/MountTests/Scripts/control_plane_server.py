"""The control-plane server as the scripts beside this one run it."""

import ctypes
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time

PATIENCE = 30
PR_SET_PDEATHSIG = 1


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def end_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Server:
    # Seconds that an answer is waited for.
    timeout = 10

    def __init__(self, program, directory, mount, number=0):
        self.program, self.mount, self.port = program, mount, free_port()
        self.environment = os.environ | {
            "NEBULAGC_DB_PATH": f"{mount}/nebula.db",
            "NEBULAGC_HMAC_SECRET": "0123456789abcdef0123456789abcdef",
            "NEBULAGC_LISTEN_ADDR": f"127.0.0.1:{self.port}",
            "NEBULAGC_PUBLIC_URL": f"http://127.0.0.1:{self.port}",
            "NEBULAGC_HEARTBEAT_SECONDS": "1",
            "NEBULAGC_RATELIMIT": "off",
        }
        self.log = f"{directory}/server{number}.log"
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.program], env=self.environment, stdout=log, stderr=log, preexec_fn=end_with_parent)

    def admin(self, *arguments):
        """What a command of the administrator prints, as a dictionary."""
        output = subprocess.run(
            [self.program, "admin", *arguments], env=self.environment, check=True, stdout=subprocess.PIPE, text=True).stdout
        return dict(line.split("=", 1) for line in output.splitlines())

    def ask(self, method, path, token=None, body=None):
        """Status and object of an answer; status 0 for none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout)
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
            lines = [line for line in log.readlines() if " Request" not in line or "status=500" in line]
        return f"{self.mount}: " + "".join(lines[-15:])


def wait_for(what, servers, condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"waited {PATIENCE} s for {what}\n" + "\n".join(server.explain() for server in servers))
        time.sleep(0.02)

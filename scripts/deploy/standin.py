"""Servers that stand in for nebulagc-server behind a balancer: all three are healthy, at most one is the master."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A balancer hangs up as it likes."""


class StandIn:
    """One server on a port of its own, which keeps count of what reaches it."""

    def __init__(self, name):
        self.name = name
        self.is_master = False
        # What a write does instead of being answered: "drop" ends the connection once the body was read.
        self.mishap = None
        self.reads, self.writes, self.bytes, self.headers = 0, 0, 0, {}
        self.server = None
        self.port = 0
        self.start()

    def start(self):
        self.server = Server(("127.0.0.1", self.port), self.handler())
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def handler(standin):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def answer(self, status, value):
                body = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                if status == 503:
                    self.send_header("Retry-After", "1")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def read(self):
                if self.path == "/health/master":
                    self.answer(200 if standin.is_master else 503, {"server": standin.name})
                    return
                if self.path != "/health":
                    standin.reads += 1
                self.answer(200, {"server": standin.name})

            def write(self):
                size = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(size)
                if not standin.is_master:
                    answer = {"error": "not_master", "message": "writes go elsewhere", "server": standin.name}
                    self.answer(503, answer)
                    return
                standin.bytes = len(body)
                standin.writes += 1
                standin.headers = {name.lower(): value for name, value in self.headers.items()}
                if standin.mishap == "drop":
                    self.close_connection = True
                    return
                if standin.mishap == "refuse":
                    self.answer(503, {"error": "busy", "server": standin.name})
                    return
                self.answer(201, {"server": standin.name, "path": self.path})

            do_GET = do_HEAD = do_OPTIONS = read
            do_POST = do_PUT = do_PATCH = do_DELETE = write

        return Handler

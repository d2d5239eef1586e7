"""Reads and writes through the balancer of its host until /root/load.end is there, then says in JSON what failed.

Runs on a pretended host, where /root/prod.tokens is and the balancer listens on port 8080. A write that failed may have been
made, or not; one that was confirmed has to be there exactly once.
"""

import http.client
import json
import os
import threading
import time

END = "/root/load.end"
# Below the limits of requests that servers have.
PERIOD = 0.1
ANSWER_SECONDS = 10
LIMIT_SECONDS = 300


def read_token():
    with open("/root/prod.tokens", encoding="utf-8") as file:
        return dict(line.strip().split("=", 1) for line in file if "=" in line)["node_token"]


class Client:
    """One thread, one request at a time, each on a connection of its own."""

    def __init__(self, kind, request, token):
        self.kind, self.request, self.token = kind, request, token
        self.count, self.gap, self.failed, self.confirmed = 0, 0.0, [], []
        self.thread = threading.Thread(target=self.run)

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("localhost", 8080, timeout=ANSWER_SECONDS)
        try:
            connection.request(method, path, body, {"X-NebulaGC-Node-Token": self.token})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def run(self):
        last = time.monotonic()
        end = last + LIMIT_SECONDS
        while not os.path.exists(END) and time.monotonic() < end:
            begun = time.monotonic()
            self.count += 1
            try:
                status, text = self.request(self)
            except (OSError, http.client.HTTPException) as error:
                status, text = 0, repr(error)
            now = time.monotonic()
            if status in (200, 201):
                self.gap = max(self.gap, now - last)
                last = now
            else:
                self.failed.append({"kind": self.kind, "time": time.time(), "status": status, "text": text[:200]})
            # A load is constant if it does not wait for slow answers any longer than it has to.
            time.sleep(max(0, begun + PERIOD - now))
        self.gap = max(self.gap, time.monotonic() - last)
        if not os.path.exists(END):
            raise SystemExit(f"nobody ended this load within {LIMIT_SECONDS} s")


def read(client):
    return client.ask("GET", "/api/v1/nodes")


def write(client):
    name = f"load-{time.time_ns()}"
    status, text = client.ask("POST", "/api/v1/nodes", json.dumps({"name": name}))
    if status == 201:
        client.confirmed.append(name)
    return status, text


def names(client):
    """All nodes' names, page by page."""
    found, page = [], 1
    while True:
        status, text = client.ask("GET", f"/api/v1/nodes?page={page}&page_size=500")
        if status != 200:
            raise SystemExit(f"reading the nodes: {status} {text}")
        nodes = json.loads(text)["data"]["nodes"]
        found += [node["name"] for node in nodes]
        if len(nodes) < 500:
            return found
        page += 1


def main():
    if os.path.exists(END):
        os.unlink(END)
    token = read_token()
    clients = [Client("reads", read, token), Client("reads", read, token), Client("writes", write, token)]
    print("begun", flush=True)
    for client in clients:
        client.thread.start()
    for client in clients:
        client.thread.join()
    confirmed, found = clients[2].confirmed, []
    end = time.monotonic() + ANSWER_SECONDS
    # A replica may be some milliseconds behind.
    while time.monotonic() < end and not set(confirmed) <= set(found):
        found = names(clients[0])
    print(json.dumps({
        "reads": sum(client.count for client in clients[:2]), "writes": clients[2].count,
        "failed": [failure for client in clients for failure in client.failed],
        "gap": clients[2].gap, "read_gap": max(client.gap for client in clients[:2]),
        "missing": sorted(set(confirmed) - set(found))[:10],
        "twice": [name for name in confirmed if found.count(name) > 1][:10]}))


main()

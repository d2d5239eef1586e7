"""Three nodes with the control plane's server on a mount, and a fourth host with two balancers and Prometheus.

All are services of pretended hosts (host.py), with what deploy/ holds as their configuration.
"""

import json
import os
import urllib.error
import urllib.request

from host import REPOSITORY, World
from nodes import Problem, command
from watch import TICK_MS, shortened, until

NODES = ("node1", "node2", "node3")
BALANCERS = {"haproxy": 8080, "nginx": 8081}
SERVER_PORT, STATUS_PORT, PROMETHEUS_PORT = 8080, 20202, 9090
MOUNT = "/var/lib/nebulagc-server"
START_SECONDS = 60
# One answer, of whoever is on this machine's bridge.
ASK_SECONDS = 2
# What a page of the API has at most.
PAGE = 500

HALITE = """\
fuse: {{dir: {mount}, low-latency: false}}
data: {{dir: /var/lib/halite}}
http: {{addr: ":{status}"}}
replication:
  addr: ":20203"
  advertise: "{name}:20203"
  tls: {{ca: ca.pem, cert: {name}.pem, key: {name}-key.pem}}
lease: {{type: quorum, hostname: {name}, ttl: 2s, quorum: {{peers: {{{peers}}}}}}}
"""
SERVER = """\
NEBULAGC_DB_PATH={mount}/nebulagc.db
NEBULAGC_HMAC_SECRET=a-secret-of-a-test-that-is-long-enough
NEBULAGC_LISTEN_ADDR=:{port}
NEBULAGC_PUBLIC_URL=http://{name}:{port}
NEBULAGC_HEARTBEAT_SECONDS=1
NEBULAGC_RATELIMIT=off
NEBULAGC_LOG_LEVEL=notice
NEBULAGC_TRUSTED_PROXIES={balancer}
"""
PROMETHEUS = """\
global: {{scrape_interval: {tick}ms, scrape_timeout: {timeout}ms, evaluation_interval: {tick}ms}}
rule_files: [nebulagc.rules.yml]
scrape_configs:
  - job_name: nebulagc
    static_configs: [{{targets: [{targets}]}}]
"""


def ask(address, path, headers=None):
    """The body of an answer; nil when there is none, or another than 200."""
    try:
        request = urllib.request.Request(f"http://{address}{path}", headers=headers or {})
        with urllib.request.urlopen(request, timeout=ASK_SECONDS) as file:
            return file.read().decode()
    except (OSError, ValueError, urllib.error.HTTPError):
        return None


def samples(text):
    """Values of an exposition by series."""
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in text.splitlines() if line and line[0] != "#"
    }


class Served:
    def __init__(self, binaries):
        self.world = World([*NODES, "lb"], binaries)
        self.token = None

    def address(self, name, port):
        return f"{self.world[name].address}:{port}"

    def install(self, host, path, text):
        host.run(f"install -d {os.path.dirname(path)}; cat >{path} <<'EOF_OF_FILE'\n{text}\nEOF_OF_FILE")

    def unit(self, host, name, start, environment=""):
        self.install(host, f"/etc/systemd/system/{name}.service",
                     f"[Service]\n{environment}\nExecStart={start}\nRestart=always\nRestartSec=500ms")

    # MARK: Nodes

    def start(self):
        self.world.start()
        certificates = f"{self.world.directory}/certs"
        halite = f"{self.world.release}/halite"
        self.check(command([halite, "cert", "init", "--dir", certificates]))
        for name in NODES:
            self.check(command([halite, "cert", "issue", "--dir", certificates, "--name", name, "--host", name]))
            self.prepare(self.world[name], certificates)
        for name in NODES:
            self.world[name].run("systemctl start halite nebulagc-server")
        until("every node is ready", lambda: all(map(self.is_ready, NODES)), START_SECONDS)
        until("one server is the master", lambda: len(self.masters()) == 1, START_SECONDS)
        printed = self.world[self.masters()[0]].run(
            "./nebulagc-server admin tenant acme --env-file /etc/nebulagc/server.env\n"
            "./nebulagc-server admin cluster prod --tenant acme --env-file /etc/nebulagc/server.env")
        self.token = dict(line.split("=", 1) for line in printed.splitlines())["node_token"]
        self.start_balancers()
        self.start_prometheus()

    def check(self, done):
        if done.returncode:
            raise Problem(f"{' '.join(done.args)}: {done.stderr}")

    def prepare(self, host, certificates):
        name = host.name
        host.run(f"install -d /etc/halite {MOUNT} /var/lib/halite\n"
                 f"install -m 600 {certificates}/ca.pem {certificates}/{name}.pem"
                 f" {certificates}/{name}-key.pem /etc/halite")
        peers = ", ".join(f'{peer}: "{peer}:20203"' for peer in NODES)
        self.install(host, "/etc/halite/halite.yml",
                     HALITE.format(mount=MOUNT, status=STATUS_PORT, name=name, peers=peers))
        self.install(host, "/etc/nebulagc/server.env",
                     SERVER.format(mount=MOUNT, port=SERVER_PORT, name=name, balancer=self.world["lb"].address))
        self.unit(host, "halite", "/root/halite mount --config /etc/halite/halite.yml")
        # On the directory below the mount it would make a database of its own.
        self.unit(host, "nebulagc-server", "/root/nebulagc-server",
                  "EnvironmentFile=/etc/nebulagc/server.env\nExecStartPre=/bin/sh -c "
                  f"\"timeout {START_SECONDS} sh -c 'until mountpoint -q {MOUNT}; do sleep 0.1; done'\"")

    def power_off(self, name):
        # Nobody answers for a machine that is off; its namespace alone would refuse connections.
        self.world.network.cut(self.world[name].number)
        self.world[name].power_off()

    def power_on(self, name):
        self.world.network.join(self.world[name].number)
        self.world[name].start()
        self.world[name].run("systemctl start halite nebulagc-server")

    def is_ready(self, name):
        text = ask(self.address(name, STATUS_PORT), "/status")
        return bool(text) and json.loads(text)["node"]["ready"]

    def metrics(self, name):
        return samples(ask(self.address(name, SERVER_PORT), "/metrics") or "")

    def masters(self, among=NODES):
        return [name for name in among if self.metrics(name).get("nebulagc_ha_is_master") == 1]

    def answered(self, name, method):
        """How many requests of the API a server has answered well."""
        return sum(
            value for series, value in self.metrics(name).items()
            if series.startswith("nebulagc_http_requests_total") and f'method="{method}"' in series
            and 'path="/api/v1/nodes"' in series and 'status="20' in series)

    def rows(self, name):
        """Names of all rows in a server's own copy, or nil."""
        names, page = [], 1
        while True:
            text = ask(self.address(name, SERVER_PORT), f"/api/v1/nodes?page_size={PAGE}&page={page}",
                       {"X-NebulaGC-Node-Token": self.token})
            if text is None:
                return None
            found = json.loads(text)["data"]["nodes"]
            names += [row["name"] for row in found]
            if len(found) < PAGE:
                return names
            page += 1

    # MARK: The fourth host

    def start_balancers(self):
        host = self.world["lb"]
        values = {f"NEBULAGC_NODE{n}": self.address(name, SERVER_PORT) for n, name in enumerate(NODES, 1)}
        lines = "\n".join(f"Environment={name}={value}" for name, value in values.items())
        self.unit(host, "haproxy", "/usr/sbin/haproxy -db -f /root/deploy/haproxy/haproxy.cfg",
                  f"{lines}\nEnvironment=NEBULAGC_BIND=*:{BALANCERS['haproxy']}")
        with open(f"{REPOSITORY}/deploy/nginx/nginx.conf", encoding="utf-8") as file:
            text = file.read()
        values["NEBULAGC_BIND"] = f"*:{BALANCERS['nginx']}"
        for name, value in values.items():
            text = text.replace("${" + name + "}", value)
        self.install(host, "/etc/nginx/nginx.conf", text)
        host.run("install -d /var/lib/nginx /var/log/nginx")
        self.unit(host, "nginx", "/usr/sbin/nginx -c /etc/nginx/nginx.conf -g 'daemon off;'")
        host.run("systemctl start haproxy nginx")
        headers = {"X-NebulaGC-Node-Token": self.token}
        for port in BALANCERS.values():
            until(f"the balancer on port {port} answers",
                  lambda: ask(self.address("lb", port), "/api/v1/nodes", headers), START_SECONDS)

    def start_prometheus(self):
        host = self.world["lb"]
        with open(f"{REPOSITORY}/deploy/prometheus/nebulagc.rules.yml", encoding="utf-8") as file:
            self.install(host, "/etc/prometheus/nebulagc.rules.yml", shortened(file.read()))
        targets = ", ".join(f'"{name}:{SERVER_PORT}"' for name in NODES)
        self.install(host, "/etc/prometheus/prometheus.yml",
                     PROMETHEUS.format(tick=TICK_MS, timeout=TICK_MS - 50, targets=targets))
        # Below /run, which is memory.
        self.unit(host, "prometheus",
                  "/usr/bin/prometheus --config.file=/etc/prometheus/prometheus.yml --log.level=warn"
                  f" --storage.tsdb.path=/run/prometheus --web.listen-address=:{PROMETHEUS_PORT}")
        host.run("systemctl start prometheus")
        until("Prometheus is ready",
              lambda: ask(self.address("lb", PROMETHEUS_PORT), "/-/ready"), START_SECONDS)

    def stop(self):
        self.world.stop()

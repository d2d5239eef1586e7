"""A network of its own for each node: namespaces on one bridge, which can be cut off one by one."""

import os

from nodes import Problem, command


def run(*words):
    done = command(list(words), 30)
    if done.returncode:
        raise Problem(f"{' '.join(words)}: {done.stderr.strip()}")


class Network:
    """Addresses are 10.213.OCTET.1 for this machine and .11, .12, … for the nodes."""

    def __init__(self, count):
        self.octet = os.getpid() % 250 + 1
        self.bridge = f"hlt{self.octet}"
        self.count = count
        self.made = []

    def address(self, number):
        return f"10.213.{self.octet}.{10 + number}"

    def inside(self, number):
        """Words before a command that runs in a node's network."""
        return ["nsenter", f"--net=/run/netns/{self.bridge}-{number}"]

    def start(self):
        run("ip", "link", "add", self.bridge, "type", "bridge")
        self.made.append(("ip", "link", "del", self.bridge))
        run("ip", "addr", "add", f"10.213.{self.octet}.1/24", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")
        for number in range(1, self.count + 1):
            name, port = f"{self.bridge}-{number}", self.port(number)
            run("ip", "netns", "add", name)
            self.made.append(("ip", "netns", "del", name))
            run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
            run("ip", "link", "set", port, "master", self.bridge, "up")
            run("ip", "-n", name, "addr", "add", f"{self.address(number)}/24", "dev", "eth0")
            run("ip", "-n", name, "link", "set", "lo", "up")
            run("ip", "-n", name, "link", "set", "eth0", "up")

    def port(self, number):
        return f"{self.bridge}p{number}"

    def cut(self, number):
        run("ip", "link", "set", self.port(number), "down")

    def join(self, number):
        run("ip", "link", "set", self.port(number), "up")

    def filter(self, chain, number, others, what="-A"):
        """Drops what comes to a node (INPUT) or goes out of it (OUTPUT) from or to others; "-D" ends that."""
        side = "-s" if chain == "INPUT" else "-d"
        for other in others:
            run(
                *self.inside(number), "iptables", "-w", what, chain, side, self.address(other), "-j", "DROP"
            )

    def stop(self):
        for words in reversed(self.made):
            command(list(words), 30)
        self.made = []

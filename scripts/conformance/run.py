#!/usr/bin/env python3
"""Runs SQLite's own tests on a Halite mount, and beside it on the plain file system.

usage: run.py [--set short|full|veryquick] [--halite PATH] [--seconds N] [--report FILE] [FILE...]

Without FILE the files of the set. A FILE is the name of one of SQLite's test files ("wal.test",
patterns as "corrupt*" too) or "mptest:SCRIPT:MODE". See docs/conformance.md.
"""

import argparse
import fnmatch
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import nodes

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = ROOT + "/.build-conformance"

SHORT = """wal.test wal2.test wal5.test walbak.test walmode.test walnoshm.test walrestart.test
    walvfs.test journal1.test journal2.test jrnlmode.test pager1.test lock.test trans.test
    savepoint.test rollback.test vacuum.test incrvacuum.test backup.test exclusive.test mmap1.test
    attach.test io.test corrupt2.test corrupt3.test mptest:multiwrite01:WAL
    mptest:multiwrite01:DELETE""".split()
FULL = """wal*.test journal*.test jrnlmode*.test pager*.test lock*.test trans*.test savepoint*.test
    rollback*.test vacuum*.test incrvacuum*.test backup*.test exclusive*.test mmap*.test
    attach*.test io.test multiplex*.test corrupt*.test mptest:*""".split()
# testfixture moves SQLite's lock bytes, so that small databases reach beyond them.
LOCK_BYTE = 0x10000
MODES = ("WAL", "DELETE", "PERSIST", "TRUNCATE")
MPTEST = [f"mptest:{script}:{mode}" for script in ("multiwrite01", "crash01") for mode in MODES]
# How many times the plain file system's time a test may take on the mount, beside its time limit.
SLOWER = 10
# What permutations.test leaves out of "veryquick", besides what it names one by one.
SUITES = "all async quick veryquick memleak permutations soak fts3 mallocAll rtree full extraquick " \
    "session rbu"


class Outcome:
    """How one test file went in one place."""

    def __init__(self, passed, failed, note, seconds, output):
        self.passed, self.failed, self.note = passed, failed, note
        self.seconds, self.output = seconds, output

    @property
    def good(self):
        return self.failed == 0 and not self.note

    def __str__(self):
        return self.note or f"{self.passed}/{self.passed + self.failed}"


def run_limited(command, seconds, user=None, cwd=None):
    """Runs a command in a process group that is ended with it; code (None: time is up), output."""
    identity = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True, cwd=cwd, **identity,
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        output.seek(0)
        return code, output.read().decode(errors="replace")


class Bench:
    """The place where tests run: a directory of the plain file system and two nodes."""

    def __init__(self, arguments, home):
        self.seconds, self.home = arguments.seconds, home
        self.user = None
        if os.geteuid() == 0:
            # SQLite's tests want a user who may not do everything.
            self.user = pwd.getpwnam("nobody").pw_uid
        os.chmod(home, 0o755)
        # Temporary files of the tests (and of Tcl) go neither to the mount nor where others are.
        os.mkdir(home + "/tmp")
        os.chmod(home + "/tmp", 0o1777)
        os.environ["TMPDIR"] = home + "/tmp"
        self.tests = self.reachable()
        self.plain = home + "/plain"
        os.mkdir(self.plain)
        self.primary, self.replica = nodes.start_pair(
            arguments.halite, home, self.user is not None, arguments.passthrough
        )
        self.mounted = self.primary.mount

    def reachable(self):
        """Where the user can read the tests: where they were built, or a copy."""
        paths = {"testfixture": BUILD + "/build/testfixture", "mptester": BUILD + "/build/mptester",
                 "source": BUILD + "/source"}
        code, _ = run_limited(
            ["test", "-r", paths["source"] + "/test/tester.tcl", "-a", "-x", paths["testfixture"]],
            20, self.user,
        )
        if code == 0:
            return paths
        for name in ("testfixture", "mptester"):
            paths[name] = shutil.copy(paths[name], self.home)
        for folder in ("test", "mptest", "ext"):
            shutil.copytree(f"{BUILD}/source/{folder}", f"{self.home}/source/{folder}")
        paths["source"] = self.home + "/source"
        return paths

    def workplace(self, place, name):
        directory = f"{place}/{re.sub('[^A-Za-z0-9]', '_', name)}"
        script = f"mkdir '{directory}' && chown {self.user or os.geteuid()} '{directory}'"
        code, output = run_limited(["sh", "-c", script], 20)
        if code != 0:
            raise nodes.Trouble(f"no directory on {place}: {output}")
        return directory

    def clear(self, directory):
        return run_limited(["rm", "-rf", directory], 60)

    def run(self, name, directory, limit):
        """Runs one test file in a directory, for at most so many seconds."""
        started = time.monotonic()
        if name.startswith("mptest:"):
            _, script, mode = name.split(":")
            command = [self.tests["mptester"], "mptest.db",
                       f"{self.tests['source']}/mptest/{script}.test", "--repeat", "4",
                       "--journalmode", mode]
            pattern = r"Summary: (\d+) errors(?: in| out of) (\d+) tests"
        else:
            command = [self.tests["testfixture"], f"{self.tests['source']}/test/{name}"]
            pattern = r"(\d+) errors out of (\d+) tests"
        code, output = run_limited(command, limit, self.user, directory)
        seconds = time.monotonic() - started
        counts = re.findall(pattern, output)
        if code is None:
            return Outcome(0, 0, "time limit", seconds, output)
        if not counts:
            return Outcome(0, 0, f"ended without a summary (exit code {code})", seconds, output)
        failed, total = (int(count) for count in counts[-1])
        return Outcome(total - failed, failed, "", seconds, output)

    def compare(self, lock_byte):
        """What differs between the nodes; nothing is good."""
        first, second = self.primary, self.replica
        for node in (first, second):
            if not node.alive():
                return f"{node.name} has ended:\n{node.log_tail()}"
        code, output = run_limited(
            [sys.executable, HERE + "/compare.py", "60", first.mount, str(first.http),
             second.mount, str(second.http), str(lock_byte)], 150,
        )
        if code is None:
            return "the comparison came to no end\n" + output
        return "" if code == 0 else output.strip() or f"the comparison failed ({code})"

    def stop(self):
        for node in (self.replica, self.primary):
            node.stop()


def available():
    names = sorted(os.listdir(BUILD + "/source/test"))
    return [name for name in names if name.endswith(".test")]


def veryquick():
    """The files of SQLite's own "veryquick", as its permutations.test has them."""
    with open(BUILD + "/source/test/permutations.test") as file:
        text = file.read()
    listed = re.search(r"set allquicktests \[test_set \$alltests -exclude \{(.*?)\}\]", text, re.S)
    some = re.search(r'test_suite "veryquick".*?-exclude (.*?)\n\]', text, re.S)
    excluded = listed.group(1).split() + some.group(1).replace("\\", " ").split()
    excluded += [suite + ".test" for suite in SUITES.split()]
    return [
        name for name in available()
        if not any(fnmatch.fnmatch(name, pattern) for pattern in excluded)
    ]


def chosen(arguments):
    if arguments.files:
        patterns = arguments.files
    elif arguments.set == "veryquick":
        return veryquick() + MPTEST
    else:
        patterns = FULL if arguments.set == "full" else SHORT
    names = []
    for pattern in patterns:
        if not pattern.startswith("mptest:") and not pattern.endswith(".test"):
            pattern += ".test"
        found = [name for name in available() + MPTEST if fnmatch.fnmatch(name, pattern)]
        # Patterns may name what this version of SQLite does not have.
        names += [name for name in found if name not in names]
    if not names:
        sys.exit(f"conformance: no test file is called {' '.join(patterns)}")
    return names


def exceptions(passthrough):
    """Test files that need not pass, with the reasons, from the page that tells of them."""
    with open(ROOT + "/docs/conformance.md") as file:
        section = file.read().partition("## Exceptions")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| (.+?) \|$", section, re.M)
    if passthrough != "off":
        rows = [row for row in rows if not row[1].startswith("Without passthrough")]
    return dict(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", choices=("short", "full", "veryquick"), default="short")
    parser.add_argument("--halite", required=True)
    parser.add_argument("--passthrough", choices=("on", "off", "all"), default="on")
    parser.add_argument("--seconds", type=int, default=300, help="time limit of one file")
    parser.add_argument("--report", help="where to keep the output of files that fail")
    parser.add_argument("files", nargs="*")
    arguments = parser.parse_args()
    arguments.halite = os.path.abspath(arguments.halite)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    names, excused = chosen(arguments), exceptions(arguments.passthrough)
    home = tempfile.mkdtemp(prefix="halite-conformance-", dir="/var/tmp")
    bench = None
    try:
        bench = Bench(arguments, home)
        bad = run_all(bench, names, excused, arguments.report)
    except nodes.Trouble as trouble:
        sys.exit(f"conformance: {trouble}")
    finally:
        if bench is not None:
            bench.stop()
        if not any(nodes.mounted(f"{home}/{name}/mnt") for name in ("primary", "replica")):
            shutil.rmtree(home, ignore_errors=True)
    sys.exit(1 if bad else 0)


def run_all(bench, names, excused, report):
    print(f"{'file':32} {'plain':>16} {'mount':>16} {'seconds':>14}  nodes", flush=True)
    totals, bad = [0, 0, 0, 0], []
    for name in names:
        started = [node.log_size() for node in (bench.primary, bench.replica)]
        directory = bench.workplace(bench.plain, name)
        plain = bench.run(name, directory, bench.seconds)
        bench.clear(directory)
        directory = bench.workplace(bench.mounted, name)
        # Of a file that works the disk alone, the time on the mount says nothing about right and wrong.
        mount = bench.run(name, directory, bench.seconds + SLOWER * plain.seconds)
        lock_byte = 0 if name.startswith("mptest:") else LOCK_BYTE
        problem = bench.compare(lock_byte)
        if not problem:
            code, output = bench.clear(directory)
            problem = "" if code == 0 else f"could not be removed: {output}"
            problem = problem or bench.compare(lock_byte)
        complaints = [
            f"{node.name}: {line}"
            for node, start in zip((bench.primary, bench.replica), started)
            for line in node.complaints(start)
        ]
        worse = plain.good and not mount.good or plain.failed < mount.failed
        verdict = "same" if not problem else "differ"
        if worse or problem:
            if name in excused:
                verdict += " (excepted)"
            else:
                bad.append(name)
                verdict += " FAILED"
        if complaints:
            verdict += f", {len(complaints)} complaints"
        seconds = f"{plain.seconds:.1f} {mount.seconds:.1f}"
        print(f"{name:32} {plain!s:>16} {mount!s:>16} {seconds:>14}  {verdict}", flush=True)
        for index, value in enumerate((plain.passed, plain.failed, mount.passed, mount.failed)):
            totals[index] += value
        if (worse or problem) and name not in excused:
            show(mount.output, problem, complaints)
        if report and (worse or problem or complaints):
            os.makedirs(report, exist_ok=True)
            with open(f"{report}/{name}.txt", "w") as file:
                file.write("\n".join([mount.output, problem, *complaints, ""]))
        if problem:
            bench.clear(directory)
        if not bench.primary.alive() or not bench.replica.alive():
            raise nodes.Trouble("a node has ended")
    print(f"cases: plain {totals[0]} passed, {totals[1]} failed; "
          f"mount {totals[2]} passed, {totals[3]} failed")
    for node in (bench.primary, bench.replica):
        memory, log = node.memory() >> 20, node.data_bytes() >> 20
        print(f"{node.name}: {memory} MiB of memory, {log} MiB of log")
    verdict = f"failed: {' '.join(bad)}" if bad else "none failed that is not listed"
    print(f"conformance: {len(names)} files; {verdict}")
    return bad


def show(output, problem, complaints):
    lines = [line for line in output.splitlines() if line.startswith("!") or "rror" in line]
    for line in lines[:12] + problem.splitlines()[:12] + complaints[:6]:
        print("    " + line[:200], flush=True)


main()

"""Runs the same steps on a mount and on a plain directory, and compares what they led to.

A step that is not SQLite's own business (another process, a copied file, a replica to look at) goes
through `Side`. Whatever a program would see is noted; both sides must have noted the same.
"""

import hashlib
import os
import signal
import sqlite3
import sys
import time

MAGIC = b"SQLite format 3\0"


class Side:
    """One directory that databases lie in: the mount, with its replica, or the plain one."""

    def __init__(self, directory, replica=None):
        self.directory = directory
        self.replica = replica
        self.notes = []

    def path(self, name):
        return os.path.join(self.directory, name)

    def open(self, name, options="", vfs=None, timeout=20):
        """A connection in autocommit mode; `options` are those of a URI."""
        options = [options] if options else []
        if vfs:
            options.append("vfs=" + vfs)
        uri = "file:" + self.path(name) + ("?" + "&".join(options) if options else "")
        return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=timeout)

    def note(self, *values):
        self.notes.append(values)

    def run(self, connection, statement, *values):
        """Runs a statement and notes its rows or its error."""
        try:
            rows = connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            rows = str(error)
        self.note(statement, rows)
        return rows

    def child(self, body):
        """Runs `body` in another process, which ends by SIGKILL if `body` returns."""
        sys.stdout.flush()
        number = os.fork()
        if number == 0:
            try:
                body()
                os.kill(os.getpid(), signal.SIGKILL)
            except BaseException as error:  # noqa: BLE001: a child must never go on as its parent
                print(f"in a child process: {error!r}", flush=True)
            os._exit(1)
        _, status = os.waitpid(number, 0)
        self.note("child", os.WIFSIGNALED(status))

    def position(self, name):
        """Where the database stands on the primary; nothing on the plain side."""
        if self.replica is None:
            return None
        return position(self.directory, name)

    def reached(self, name, statement, rows, seconds=20):
        """Waits until a reader on the replica gets these rows."""
        if self.replica is None:
            return
        deadline = time.monotonic() + seconds
        while True:
            try:
                connection = sqlite3.connect(f"file:{self.replica}/{name}?mode=ro", uri=True)
                found = connection.execute(statement).fetchall()
                connection.close()
            except sqlite3.Error as error:
                found = str(error)
            if found == rows:
                return
            if time.monotonic() > deadline:
                raise AssertionError(f"the replica's {name}: {found}, not {rows}")
            time.sleep(0.005)

    def unseen(self, name, body):
        """Checks that what `body` does is not yet a transaction of the log."""
        before = self.position(name)
        body()
        if self.position(name) != before:
            raise AssertionError(f"{name}: {before} has become {self.position(name)}")

    def contents(self):
        """What each file is: a database's content, or the bytes of another file."""
        found = {}
        for directory, _, names in os.walk(self.directory):
            for name in names:
                path = os.path.join(directory, name)
                relative = os.path.relpath(path, self.directory)
                if name.startswith(".") or name.endswith(("-wal", "-shm", "-journal", "-pos")):
                    continue
                found[relative] = content(path)
        return found


def position(directory, name):
    try:
        with open(os.path.join(directory, name + "-pos")) as file:
            return file.read().strip()
    except FileNotFoundError:
        return None


def content(path):
    with open(path, "rb") as file:
        start = file.read(16)
        if start != MAGIC:
            return "file", hashlib.sha256(start + file.read()).hexdigest()
    connection = sqlite3.connect(path, timeout=20)
    try:
        verdict = connection.execute("pragma integrity_check").fetchall()
        digest = hashlib.sha256()
        for line in connection.iterdump():
            digest.update(line.encode("utf-8", "surrogateescape"))
        settings = [
            connection.execute("pragma " + name).fetchall()
            for name in ("page_size", "auto_vacuum", "journal_mode", "user_version")
        ]
        return "database", verdict, digest.hexdigest(), settings
    except sqlite3.Error as error:
        return "database", str(error)
    finally:
        connection.close()


def main(ways):
    """usage: WAY MOUNT PLAIN REPLICA

    Runs a way on both sides, compares them, and prints the names of the databases on the mount, one
    a line, for whoever compares their bytes with the replica's.
    """
    way, mount, plain, replica = sys.argv[1:5]
    names = list(ways) if way == "list" else [way]
    if way == "list":
        print("\n".join(names))
        return
    for directory in (mount, plain):
        os.makedirs(os.path.join(directory, way))
    sides = [
        Side(os.path.join(mount, way), os.path.join(replica, way)),
        Side(os.path.join(plain, way)),
    ]
    contents = []
    for side in sides:
        ways[way](side)
        contents.append(side.contents())
    for ours, theirs in zip(sides[0].notes, sides[1].notes):
        if ours != theirs:
            sys.exit(f"{way}: the mount gave {ours}, a plain directory {theirs}")
    if len(sides[0].notes) != len(sides[1].notes):
        sys.exit(f"{way}: {len(sides[0].notes)} notes are not {len(sides[1].notes)}")
    if contents[0] != contents[1]:
        sys.exit(f"{way}: the mount has {contents[0]}, a plain directory {contents[1]}")
    for name, found in sorted(contents[0].items()):
        if found[0] == "database":
            print(os.path.join(way, name))

#!/usr/bin/env python3
"""Fails if a dashboard or a rule under deploy/ asks for a metric that nobody has.

metrics.py FILE...: what /metrics of a server and of nodes said. A family counts as there when it is declared (# TYPE), since
some have no sample before the first event. Labels that expressions select by must be ones that the family was seen with, where
it has been seen at all.
"""

import glob
import json
import os
import re
import sys

DEPLOY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "deploy")
METRIC = re.compile(r"\b((?:nebulagc|halite)_[a-z0-9_]+)\s*(?:\{([^}]*)\})?")
LABEL = re.compile(r"([a-z_]+)\s*(?:=~|!~|!=|=)")
# Prometheus' own, of each target.
TARGET = {"job", "instance"}
# What a node says only once there is something to say; the sources must have the name.
EVENTS = {"halite_db_damaged_pages"}
# Series that a histogram's family stands for.
SUFFIXES = ("_bucket", "_sum", "_count")


def is_in_sources(name):
    for directory, _, files in os.walk(os.path.join(DEPLOY, "..", "Sources")):
        for file in files:
            if not file.endswith(".swift"):
                continue
            with open(os.path.join(directory, file), encoding="utf-8") as source:
                if f'"{name}"' in source.read():
                    return True
    return False


def families(paths):
    """Name to the labels it was seen with; histograms by all of their series."""
    found = {}
    for path in paths:
        with open(path, encoding="utf-8") as file:
            for line in file:
                if line.startswith("# TYPE "):
                    _, _, name, kind = line.split()
                    names = [name + suffix for suffix in SUFFIXES] if kind == "histogram" else [name]
                    for each in names:
                        found.setdefault(each, set())
                elif not line.startswith("#") and (match := METRIC.match(line)):
                    found.setdefault(match[1], set()).update(LABEL.findall(match[2] or ""))
    return found


def strings(value, wanted):
    """All strings under one of some keys, however deep."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in wanted and isinstance(inner, str):
                yield inner
            yield from strings(inner, wanted)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner, wanted)


def expressions():
    """Each expression with the file it is from."""
    for path in sorted(glob.glob(os.path.join(DEPLOY, "grafana", "*.json"))):
        with open(path, encoding="utf-8") as file:
            for text in strings(json.load(file), {"expr", "definition"}):
                yield os.path.basename(path), text
    for path in sorted(glob.glob(os.path.join(DEPLOY, "prometheus", "*.rules.yml"))):
        with open(path, encoding="utf-8") as file:
            text = re.sub(r"^\s*#.*$", "", file.read(), flags=re.MULTILINE)
        # Names of groups begin like metrics, and are none.
        yield os.path.basename(path), re.sub(r"^\s*- name:.*$", "", text, flags=re.MULTILINE)


def main():
    known = families(sys.argv[1:])
    known.update({name: set() for name in EVENTS if name not in known and is_in_sources(name)})
    problems, asked = set(), set()
    for source, text in expressions():
        for name, selectors in METRIC.findall(text):
            asked.add(name)
            if name not in known:
                problems.add(f"{source}: no server and no node has {name}")
                continue
            for label in set(LABEL.findall(selectors)) - TARGET:
                if known[name] and label not in known[name]:
                    problems.add(f"{source}: {name} has no label {label}")
    for problem in sorted(problems):
        print(f"metrics: {problem}", file=sys.stderr)
    if problems or not asked:
        sys.exit(1)
    print(f"metrics: all {len(asked)} that dashboards and rules ask for are there")


if __name__ == "__main__":
    main()

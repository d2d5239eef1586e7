"""Runs every command block of docs/ha.md on pretended hosts.

usage: guide.py BINARIES TOOLS [WORD...]

BINARIES is a directory with `halite` and `nebulagc-server`, TOOLS one with `litestream` and `weed`; of the document only the chapters are run whose title has
one of the words, all of them without words. A block that opens with ```bash HOST... runs on those hosts, one after the other, as
root; a block ```text right after it is what it prints, where `…` stands for anything. Blocks for the host `each` run wherever a
chapter repeats their section, on each of its nodes. Comments <!-- ha-test: … --> say the rest:

    world NAME...            new hosts, with nothing on them
    repeat TITLE             the blocks of that section, on the nodes
    power off|on NAME        the machine loses its power, with all that runs on it
    load HOST                a client of the balancer on that host reads and writes all the time from here on
    load end KEY=N...        it stops; at most N `reads` or `writes` failed, seconds without a write are at most `gap`, and
                             all that was confirmed is there exactly once
"""

import json
import re
import shlex
import signal
import subprocess
import sys
import time

from host import HERE, REPOSITORY, Problem, World

GUIDE = f"{REPOSITORY}/docs/ha.md"
BLOCK_SECONDS = 120
LOAD_SECONDS = 30


class Step:
    def __init__(self, line, kind, words, text=""):
        self.line, self.kind, self.words, self.text = line, kind, words, text
        self.expected = None


class Section:
    def __init__(self, level, title):
        self.level, self.title, self.steps = level, title, []


def parse(lines):
    """Sections in order, each with its blocks and directives."""
    sections, fence = [Section(1, "")], None
    for number, line in enumerate(lines, 1):
        steps = sections[-1].steps
        if fence:
            if line.rstrip() == "```":
                close(steps, *fence)
                fence = None
            else:
                fence[2].append(line)
        elif line.startswith("```"):
            fence = (number, line[3:].split(), [])
        elif match := re.match(r"(#+) (.*)", line):
            sections.append(Section(len(match[1]), match[2].strip()))
        elif match := re.match(r"<!-- ha-test: (.*) -->", line):
            words = shlex.split(match[1])
            steps.append(Step(number, words[0], words[1:]))
    if fence:
        raise Problem(f"line {fence[0]}: a block without an end")
    return sections


def close(steps, number, words, lines):
    text = "".join(lines)
    if words[:1] == ["bash"]:
        if len(words) < 2:
            raise Problem(f"line {number}: a block of commands without a host")
        steps.append(Step(number, "bash", words[1:], text))
    elif words[:1] == ["text"] and steps and steps[-1].kind == "bash":
        steps[-1].expected = text


def matches(expected, output):
    pattern = "".join(".*" if part == "…" else re.escape(part) for part in re.split("(…)", expected.strip()))
    return re.fullmatch(pattern, output.strip(), re.DOTALL) is not None


class Runner:
    def __init__(self, binaries, tools, sections):
        self.binaries, self.tools, self.sections = binaries, tools, sections
        self.world = self.load = None
        self.blocks = 0

    def run(self, sections):
        for section in sections:
            for step in section.steps:
                if step.words[:1] == ["each"]:
                    continue
                try:
                    getattr(self, f"do_{step.kind}")(step)
                except Problem as problem:
                    raise Problem(f"docs/ha.md line {step.line}, “{section.title}”: {problem}") from problem
        self.leave()

    def leave(self):
        """The hosts are gone. A chapter must not end before its load."""
        load, self.load = self.load, None
        world, self.world = self.world, None
        if world:
            world.stop()
        if load:
            raise Problem("the load goes on at the end of a chapter")

    def do_world(self, step):
        self.leave()
        self.world = World(step.words, self.binaries, self.tools)
        self.world.start()

    def do_bash(self, step):
        for name in step.words:
            self.execute(step, name)

    def execute(self, step, name):
        begun = time.monotonic()
        output = self.world[name].run(step.text, BLOCK_SECONDS)
        self.blocks += 1
        print(f"  line {step.line}, {name}: {time.monotonic() - begun:.1f} s", flush=True)
        if step.expected and not matches(step.expected, output):
            raise Problem(f"{name}:\n{step.text}\nshould print\n{step.expected}\nbut prints\n{output}")

    def do_repeat(self, step):
        title = " ".join(step.words)
        section = next((section for section in self.sections if section.title == title), None)
        if not section:
            raise Problem(f"there is no section “{title}”")
        for block in section.steps:
            if block.words[:1] == ["each"]:
                for name in self.world.all:
                    if name.startswith("node"):
                        self.execute(block, name)

    def do_power(self, step):
        for name in step.words[1:]:
            host = self.world[name]
            host.power_off() if step.words[0] == "off" else host.start()

    def do_load(self, step):
        if step.words[0] == "end":
            self.end_load({key: float(value) for key, value in (word.split("=") for word in step.words[1:])})
            return
        self.load = self.world[step.words[0]].begin(
            ["/usr/bin/python3", f"{HERE}/load.py"], stdout=subprocess.PIPE, text=True)
        if self.load.stdout.readline() != "begun\n":
            raise Problem("the load does not begin")

    def end_load(self, limits):
        # A file, since nsenter does not pass signals on into a namespace of processes.
        load, self.load = self.load, None
        self.world[next(name for name in self.world.all if name == "lb")].run("touch /root/load.end")
        text, _ = load.communicate(timeout=LOAD_SECONDS)
        report = json.loads(text)
        print(f"  load: {report['reads']} reads, {report['writes']} writes, {len(report['failed'])} failed, "
              f"longest without a write {report['gap']:.2f} s, without a read {report['read_gap']:.2f} s", flush=True)
        for failure in report["failed"][:5]:
            print(f"    {failure}", flush=True)
        if report["missing"] or report["twice"]:
            raise Problem(f"confirmed, but missing: {report['missing']}; there twice: {report['twice']}")
        failed = {kind: sum(failure["kind"] == kind for failure in report["failed"]) for kind in ("reads", "writes")}
        for kind, count in failed.items():
            if count > limits.get(kind, count):
                raise Problem(f"{count} {kind} failed, not {limits[kind]:.0f} at most: {report['failed'][:10]}")
        for key in ("gap", "read_gap"):
            if report[key] > limits.get(key, report[key]):
                raise Problem(f"{key} is {report[key]:.2f} s, more than {limits[key]} s")


def chapters(sections):
    """Sections of one chapter (level 2) after the other."""
    chapter = []
    for section in sections:
        if section.level <= 2 and chapter:
            yield chapter
            chapter = []
        chapter.append(section)
    yield chapter


def main():
    binaries, tools, *words = sys.argv[1:]
    words = [word.lower() for word in words]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with open(GUIDE, encoding="utf-8") as file:
        sections = parse(file)
    runner, done = Runner(binaries, tools, sections), 0
    try:
        for chapter in chapters(sections):
            title = chapter[0].title
            if words and not any(word in title.lower() for word in words):
                continue
            if any(step.words[:1] != ["each"] for section in chapter for step in section.steps):
                print(title, flush=True)
                runner.run(chapter)
                done += 1
    except (Problem, subprocess.TimeoutExpired) as problem:
        print(f"{problem}\n{runner.world.logs() if runner.world else ''}", file=sys.stderr)
        sys.exit(1)
    finally:
        if runner.world:
            runner.world.stop()
    if not done:
        sys.exit(f"no chapter of {GUIDE} has that in its title")
    print(f"ha-test: {runner.blocks} command blocks of {done} chapters did what they say")


if __name__ == "__main__":
    main()

"""What Prometheus says, with rules whose times are short enough for a test."""

import json
import re
import time
import urllib.parse
import urllib.request

from nodes import Problem

# What a minute of the rules is in the test is two seconds; their expressions are the same.
SHORTER = 30
# How often servers are scraped and rules evaluated.
TICK_MS = 500
ASK_SECONDS = 5
UNITS = {"s": 1, "m": 60, "h": 3600}


def until(what, condition, seconds):
    """What the condition gives once it is something. What was waited for may be a function, called at the end."""
    deadline = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        if time.monotonic() > deadline:
            raise Problem(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.1)


def milliseconds(number, unit):
    return max(TICK_MS, int(number) * UNITS[unit] * 1000 // SHORTER)


def shortened(rules):
    """Rules with all durations shorter. Numbers that are compared with metrics are none."""
    def value(match):
        return f"{match[1]}{milliseconds(match[2], match[3])}ms{match[4]}"

    for pattern in (r"(\b(?:for|interval): )(\d+)([smh])()", r"(\[)(\d+)([smh])(\])", r"(\boffset )(\d+)([smh])()"):
        rules = re.sub(pattern, value, rules)
    return rules


def seconds_for(rules, alert):
    """`for` of an alert, in the test."""
    match = re.search(rf"alert: {alert}\n(?:.*\n)*?\s+for: (\d+)([smh])", rules)
    return milliseconds(match[1], match[2]) / 1000


class Watch:
    def __init__(self, address):
        self.address = address
        self.began = time.time()

    def get(self, path, **parameters):
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=ASK_SECONDS) as file:
                return json.load(file)["data"]
        except OSError as error:
            raise Problem(f"Prometheus does not answer: {error}") from error

    def alerts(self, states=("pending", "firing")):
        """Names of alerts, each once."""
        return {alert["labels"]["alertname"] for alert in self.get("alerts")["alerts"] if alert["state"] in states}

    def await_firing(self, name, since, seconds):
        """Seconds since a fault until an alert fires."""
        until(lambda: f"{name} fires (there are: {sorted(self.alerts())})",
              lambda: name in self.alerts(["firing"]), seconds)
        return time.monotonic() - since

    def await_resolved(self, name, since, seconds):
        until(f"{name} is resolved", lambda: name not in self.alerts(), seconds)
        return time.monotonic() - since

    def await_quiet(self, seconds):
        deadline = time.monotonic() + seconds
        while found := self.get("alerts")["alerts"]:
            if time.monotonic() > deadline:
                raise Problem(f"alerts that do not end within {seconds} s: {found}")
            time.sleep(0.1)

    def await_servers(self, count, seconds):
        """All servers have been scraped and rules evaluated after that; before, nobody is the master."""
        until(f"Prometheus sees {count} servers",
              lambda: len(self.get("query", query="nebulagc_ha_is_master")["result"]) == count, seconds)
        # The first evaluation that ends may have begun before.
        for _ in range(2):
            last = self.last_evaluation()
            until("rules are evaluated", lambda: self.last_evaluation() != last, seconds)

    def last_evaluation(self):
        return [group["lastEvaluation"] for group in self.get("rules")["groups"]]

    def series(self, query, since=None):
        """Values of a query from a time on, each with its labels and time, at every evaluation."""
        step = TICK_MS / 1000
        found = self.get("query_range", query=query, start=since or self.began, end=time.time(), step=step)
        return [(each["metric"], each["values"]) for each in found["result"]]

    def ever(self, state, since=None):
        """Alerts that were in a state at any time."""
        return {labels["alertname"] for labels, _ in self.series(f'ALERTS{{alertstate="{state}"}}', since)}

    def longest_two_masters(self):
        """Seconds for which two servers or more were seen to be the master at the same time."""
        longest = begin = last = 0
        for _, values in self.series("sum(nebulagc_ha_is_master) > 1"):
            for at, _ in values:
                if at - last > 1.5 * TICK_MS / 1000:
                    begin = at
                last = at
                longest = max(longest, last - begin + TICK_MS / 1000)
        return longest

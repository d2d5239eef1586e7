"""Whether what clients saw of registers can have happened at one point in time each.

A history is a list of operations on one register: dictionaries with `write` (whether it is one), `value` (written or read),
`begin` and `end` (times; `end` is None where the client never learned the outcome, so that the operation may have
happened at any time after `begin`, or not at all).

The search is that of Wing and Gong with Lowe's memory of what was tried, as in Porcupine: operations are put into an order one
by one; one may come next if no other that is still to come ended before it began. Values are written once, so a
write without an outcome that nobody read need not be in the order, and is left out.
"""


def check(history, initial=0):
    """None where there is an order, else the longest beginning of one that was found."""
    seen = {op["value"] for op in history if not op["write"]}
    operations = sorted(
        (op for op in history if op["end"] is not None or op["write"] and op["value"] in seen),
        key=lambda op: op["begin"],
    )
    ends = [float("inf") if op["end"] is None else op["end"] for op in operations]
    count = len(operations)
    longest = 0
    # What is in the order (all up to `first`, and `others`), and the value after it.
    stack = [(0, frozenset(), initial)]
    tried = set(stack)
    while stack:
        first, others, value = stack.pop()
        longest = max(longest, first + len(others))
        if first == count:
            return None
        limit = float("inf")
        for index in range(first, count):
            if index in others:
                continue
            op = operations[index]
            if op["begin"] > limit:
                break
            limit = min(limit, ends[index])
            if not op["write"] and op["value"] != value:
                continue
            new_first, new_others = first, others | {index}
            while new_first in new_others:
                new_others -= {new_first}
                new_first += 1
            state = (new_first, new_others, op["value"] if op["write"] else value)
            if state not in tried:
                tried.add(state)
                stack.append(state)
    return operations[: longest + 1]


def operation(write, value, begin, end):
    return {"write": write, "value": value, "begin": begin, "end": end}


def test():
    """The checker itself, on histories known to be good and bad."""
    W, R = True, False
    good = {
        "nothing": [],
        "one after the other": [(W, 1, 0, 1), (R, 1, 2, 3), (W, 2, 4, 5), (R, 2, 6, 7)],
        "a read beside a write sees either": [(W, 1, 0, 10), (R, 0, 1, 2), (R, 1, 3, 4)],
        "two writes at once, in either order": [(W, 1, 0, 10), (W, 2, 0, 10), (R, 2, 11, 12)],
        "an unknown write that took effect late": [(W, 1, 0, None), (R, 0, 5, 6), (R, 1, 7, 8)],
        "an unknown write that never did": [(W, 1, 0, None), (R, 0, 5, 6)],
    }
    bad = {
        "a stale read": [(W, 1, 0, 1), (R, 0, 2, 3)],
        "a read that goes back": [(W, 1, 0, 10), (R, 1, 1, 2), (R, 0, 3, 4)],
        "a value that nobody wrote": [(W, 1, 0, 1), (R, 7, 2, 3)],
        "a lost write": [(W, 1, 0, 1), (W, 2, 2, 3), (R, 1, 4, 5)],
        "a write that happened twice": [(W, 1, 0, 1), (W, 2, 2, 3), (R, 2, 4, 5), (R, 1, 6, 7)],
        "a read before the write": [(R, 1, 0, 1), (W, 1, 2, 3)],
        "an unknown write that un-happens": [(W, 1, 0, None), (R, 1, 5, 6), (R, 0, 7, 8)],
        "two readers who disagree": [
            (W, 1, 0, 10), (W, 2, 0, 10), (R, 1, 11, 12), (R, 2, 13, 14),
        ],
    }
    for name, history in good.items():
        assert check([operation(*op) for op in history]) is None, f"taken for bad: {name}"
    for name, history in bad.items():
        assert check([operation(*op) for op in history]) is not None, f"taken for good: {name}"


if __name__ == "__main__":
    test()
    print("every history was told for what it is")

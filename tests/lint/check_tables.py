#!/usr/bin/env python3
"""Checks that the documents state the same ranges of parameters as the table in the code.

Usage: check_tables.py ROOT

kScalarParams in sampler/params/sampling_params.h has each parameter with its range. The comment of
its field in sampling_params.proto and its row under Parameters in proto/README.md must state the
same range.
"""

import pathlib
import re
import sys

NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"
ROW = re.compile(r'Scalar<[^>]*>\(\s*"([\w.]+)",\s*(\w+)\(([^)]*)\)')
INTERVAL = re.compile(rf"([\[(])({NUMBER}), ({NUMBER})([\])])")
LEAST = re.compile(rf">= ({NUMBER})")
MOST_DRAWS = 2**24 - 1


def number(text):
    return float(MOST_DRAWS if text == "kMaxDraws" else text)


def range_of(kind, arguments):
    """("[", low, high, "]"), or (">=", low); None if every value of the type is allowed."""
    values = [number(value.strip()) for value in arguments.split(",")]
    if kind == "AtLeast":
        return None if values == [0.0] else (">=", *values)
    return ("(" if kind == "Above" else "[", *values, ")" if kind == "Below" else "]")


def table(root):
    """(name, range) of each parameter."""
    text = (root / "sampler/params/sampling_params.h").read_text()
    rows = text[text.index("kScalarParams[] = {"):]
    for name, kind, arguments in ROW.findall(rows[: rows.index("};")]):
        yield name, range_of(kind, arguments)


def stated(text):
    """The ranges that a text states."""
    ranges = {(a, float(low), float(high), b) for a, low, high, b in INTERVAL.findall(text)}
    return ranges | {(">=", float(low)) for low in LEAST.findall(text)}


def fields(root):
    """Path -> text of the field with its comments, for SamplingParams and the messages in it."""
    text = (root / "proto/token_sampler/v1/sampling_params.proto").read_text()
    messages = dict(re.findall(r"^message (\w+) {\n(.*?)^}", text, re.S | re.M))
    found = {}

    def add(message, prefix):
        comment = []
        last = None
        for line in messages[message].splitlines():
            field = re.match(r"  optional ([\w.]+) (\w+) = \d+;(.*)", line)
            if field:
                kind, name, rest = field.groups()
                last = prefix + name
                found[last] = " ".join([*comment, rest])
                comment = []
                if kind in messages:
                    add(kind, prefix + name + ".")
            elif line.startswith("  //"):
                comment.append(line.strip(" /"))
            elif line.strip().startswith("//") and last is not None:
                found[last] += " " + line.strip(" /")
            else:
                comment = []

    add("SamplingParams", "")
    return found


def rows(root):
    """Field of SamplingParams -> its row in the table of the page."""
    page = (root / "proto/README.md").read_text()
    found = {}
    for line in page.splitlines():
        columns = line.split("|")
        if len(columns) > 4:
            for name in re.findall(r"`(\w+)`", columns[2]):
                found[name] = line
    return found


def check(root):
    """One message for each range that a document does not state."""
    in_proto, in_page = fields(root), rows(root)
    errors = []
    for name, wanted in table(root):
        places = {
            "sampling_params.proto": in_proto.get(name),
            "proto/README.md": in_page.get(name.split(".")[0]),
        }
        for place, text in places.items():
            if text is None:
                errors.append(f"{place}: has no {name}")
            elif wanted is not None and wanted not in stated(text) and not is_switch(in_proto, name):
                errors.append(f"{place}: {name} has the range {wanted} in kScalarParams, "
                              f"and here {sorted(stated(text), key=str)}")  # fmt: skip
    return errors or ([] if len(list(table(root))) > 30 else ["kScalarParams was not found"])


def is_switch(in_proto, name):
    return re.search(r"[Dd]efault\s+(false|true)", in_proto.get(name) or "") is not None


if __name__ == "__main__":
    problems = check(pathlib.Path(sys.argv[1]))
    print("\n".join(problems) or "the documents state the ranges of the table")
    sys.exit(bool(problems))

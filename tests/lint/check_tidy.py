#!/usr/bin/env python3
"""Runs clang-tidy over the sources of sampler, cuda, server and client.

Usage: check_tidy.py [--jobs N] [--all] [--analyze] [--program CLANG_TIDY] [--root DIR] BUILD_DIR

A file that passed is checked again only when something that its check reads has changed (passed.py),
so a second run takes no time. --all checks every file. --analyze also runs the static analyzer, which takes longer
than all other checks together.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys

from compile_commands import compile_commands
from passed import PassedChecks

FOLDERS = ("sampler", "cuda", "server", "client")
# Files that include gRPC's headers. Every check visits all declarations in these, so only those
# checks run there that find what no test would.
WITH_GRPC = ("server", "client")
CHECKS_WITH_GRPC = (
    "-bugprone-*,-clang-analyzer-*,-misc-*,-performance-*,-readability-*,bugprone-dangling-handle,"
    "bugprone-macro-parentheses,bugprone-move-forwarding-reference,"
    "bugprone-unhandled-self-assignment,bugprone-unused-raii,bugprone-use-after-move,"
    "performance-move-const-arg"
)


def units(root, build):
    """The entries of compile_commands.json for the project's source files."""
    for entry in compile_commands(build):
        source = pathlib.Path(entry["file"])
        if source.suffix == ".cc" and any(source.is_relative_to(root / f) for f in FOLDERS):
            yield entry


def tidy(program, root, build, source, analyze):
    """The findings of clang-tidy in the file; empty if none."""
    with_grpc = source.relative_to(root).parts[0] in WITH_GRPC
    checks = CHECKS_WITH_GRPC if with_grpc else "" if analyze else "-clang-analyzer-*"
    run = subprocess.run(
        [program, "--quiet", "-p", build / "tidy", "--extra-arg=-Wno-unknown-warning-option"]
        + ([f"--checks={checks}"] if checks else []) + [source],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    return run.stdout if run.returncode != 0 else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--analyze", action="store_true")
    parser.add_argument("--program", default="clang-tidy")
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).parents[2])
    parser.add_argument("build", type=pathlib.Path)
    args = parser.parse_args()

    root = args.root.resolve()
    every = list(units(root, args.build))
    (args.build / "tidy").mkdir(exist_ok=True)
    database = json.dumps(compile_commands(args.build))
    (args.build / "tidy/compile_commands.json").write_text(database)
    release = subprocess.run(
        [args.program, "--version"], capture_output=True, text=True, check=True
    )
    settings = (root / ".clang-tidy").read_text() + pathlib.Path(__file__).read_text()
    passed = PassedChecks("tidy", root, release.stdout, settings)
    keys = {
        e["file"]: passed.key(pathlib.Path(e["file"]), e["directory"], e["arguments"])
        for e in every
    }
    stale = [f for f, key in keys.items() if args.all or args.analyze or key not in passed]

    def check(file):
        complaint = tidy(args.program, root, args.build, pathlib.Path(file), args.analyze)
        if not complaint and not args.analyze:
            passed.add(keys[file])
        return complaint

    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        complaints = [c for c in pool.map(check, stale) if c]
    print("\n".join(complaints), end="")
    print(
        f"clang-tidy: {len(every)} files, {len(stale)} checked now, {len(complaints)} with findings"
    )
    return bool(complaints) or not every


if __name__ == "__main__":
    sys.exit(main())

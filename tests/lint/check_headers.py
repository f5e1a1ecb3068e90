#!/usr/bin/env python3
"""Checks that every header of sampler, cuda, server and client compiles by itself.

Usage: check_headers.py ROOT BUILD_DIR

If its own source file includes a header before anything else, the build or clang-tidy has shown
that it does. This script compiles every other header, with the flags of a source file in its
folder. A header that passed is compiled again only when something that it includes has changed
(passed.py).
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

from compile_commands import compile_commands
from passed import PassedChecks

FOLDERS = ("sampler", "cuda", "server", "client")
INCLUDE = re.compile(r"^#include [\"<]([^\">]+)[\">]", re.MULTILINE)


def headers(root):
    for folder in FOLDERS:
        # A header "-inl.h" is included once per SIMD target, inside a namespace of the target.
        yield from (h for h in sorted((root / folder).rglob("*.h")) if h.stem[-4:] != "-inl")


def is_included_first(root, header):
    for source in (header.with_suffix(".cc"), header.with_suffix(".cu")):
        first = INCLUDE.search(source.read_text()) if source.exists() else None
        if first and first[1] == str(header.relative_to(root)):
            return True
    return False


def flags_of_folder(root, build, header):
    """The compiler and flags of a source file near the header: the one with the most flags."""
    # Device code as the emulation of tests/simt compiles it; nvcc would take seconds per header.
    entries = [e for e in compile_commands(build) if not any("nvcc" in w for w in e["arguments"])]
    entries.sort(key=lambda entry: (not entry["file"].endswith(".cu"), -len(entry["arguments"])))
    for folder in [header.parent, *header.parents]:
        for entry in entries:
            if pathlib.Path(entry["file"]).is_relative_to(folder):
                words = entry["arguments"]
                words = words[1:] if words[0].endswith("ccache") else words
                return words[: words.index("-o")], entry["directory"]
        if folder == root:
            break
    raise SystemExit(f"no source file is built near {header}")


def complaint(root, build, passed, header):
    command, directory = flags_of_folder(root, build, header)
    key = passed.key(header, directory, command)
    if key in passed:
        return ""
    run = subprocess.run(
        [*command, "-fsyntax-only", "-include", header, "-x", "c++", os.devnull],
        cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if run.returncode != 0:
        return run.stdout
    passed.add(key)
    return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=pathlib.Path)
    parser.add_argument("build", type=pathlib.Path)
    args = parser.parse_args()
    root = args.root.resolve()
    every = list(headers(root))
    alone = [h for h in every if not is_included_first(root, h)]
    release = subprocess.run(["c++", "--version"], capture_output=True, text=True, check=True)
    passed = PassedChecks("headers", root, release.stdout)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        complaints = [
            c for c in pool.map(lambda h: complaint(root, args.build, passed, h), alone) if c
        ]
    print("".join(complaints), end="")
    print(f"{len(every)} headers, {len(alone)} checked here, {len(complaints)} with errors")
    return bool(complaints) or not every


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Prints registers, stack, spills and shared memory of every kernel, as the assembler reports them.

Usage: check_kernels.py BUILD_DIR

Fails if a kernel of cuda/ spills more than MAX_SPILLED bytes of registers. To find out, it compiles
each .cu file there again. It also writes its output to BUILD_DIR/kernels.txt. The output does not
include shared memory that a launch asks for.
"""

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

ENTRY = re.compile(r"Compiling entry function '(?P<name>\w+)' for '(?P<arch>\w+)'")
STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers(?:.*?(\d+) bytes smem)?")


# Two blocks leave the kernel 64 registers per thread, and its loops need all of them. It spills
# values that stay the same from stage to stage: it writes them once and reads them between loops.
# The limit counts stores and loads together.
MAX_SPILLED = 80


def commands(build):
    for entry in json.loads((build / "compile_commands.json").read_text()):
        source = pathlib.Path(entry["file"])
        in_cuda = "cuda" in (source.parent.name, source.parent.parent.name)
        if source.suffix == ".cu" and in_cuda and "nvcc" in entry["command"]:
            yield entry


def report(build, entry):
    words = shlex.split(entry["command"])
    # A real file, so that ccache, if the build uses it, keeps what the assembler reports.
    words[words.index("-o") + 1] = str(build / "kernels.o")
    launcher = os.environ.get("CMAKE_CUDA_COMPILER_LAUNCHER")
    words = [launcher, *words] if launcher else words
    run = subprocess.run(
        [*words, "-Xptxas", "-v"], cwd=entry["directory"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if run.returncode != 0:
        raise SystemExit(run.stdout)
    return run.stdout


def kernels(output):
    """(name, architecture, registers, stack, spilled bytes, shared bytes) of each kernel."""
    for part in re.split(r"(?=ptxas info\s+: Compiling entry function)", output):
        entry, stack, used = ENTRY.search(part), STACK.search(part), USED.search(part)
        if entry and stack and used:
            yield (entry["name"], entry["arch"], int(used[1]), int(stack[1]),
                   int(stack[2]) + int(stack[3]), int(used[2] or 0))  # fmt: skip


def demangled(name):
    run = subprocess.run(
        ["c++filt", "--no-params", name], stdout=subprocess.PIPE, text=True, check=True
    )
    return run.stdout.strip().split("::")[-1]


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    found = [k for entry in commands(build) for k in kernels(report(build, entry))]
    lines = "".join(
        f"{demangled(name)} {arch}: {registers} registers, {stack} bytes of stack, "
        f"{spilled} bytes spilled, {shared} bytes of static shared memory\n"
        for name, arch, registers, stack, spilled, shared in found
    )
    print(lines, end="")
    (build / "kernels.txt").write_text(lines)
    return any(spilled > MAX_SPILLED for *_, spilled, _ in found) or not found


if __name__ == "__main__":
    sys.exit(main())

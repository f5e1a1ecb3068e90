#!/usr/bin/env python3
"""Runs a test whose CUDA kernels are instrumented, and fails if it does not reach all of their
code.

Usage: check_kernel_coverage.py ROOT TEST LLVM_PROFDATA LLVM_COV

The test must execute every line and both sides of every branch of the kernels in cuda/, except
those in ALLOWED, which cannot be reached. For a template, any instantiation counts: some leave
parts out.
"""

import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile

CODE, BRANCH = 0, 4  # llvm-cov's kinds of regions

# (file, text of the line, what is not reached) -> the reason. An entry that is not needed is an
# error too.
EXHAUSTIVE = "the cases before it are all that there are"
AT_MOST_FOUR = "stages end the loop: no order has more than four, and the array has room for six"
HOST = "host code: the tests in unit/cuda have devices and images of every kind"
ALLOWED = {
    ("cuda/kernel/bin_of_key.cuh", "bottom <= top", "false"): "no key is so low that the last bin goes below 0",
    ("cuda/kernel/listed_row.cuh", "case JobStage::kNone:", "executed"): "its caller ends there",
    ("cuda/kernel/listed_row.cuh", "case JobStage::kNone", "true"): "its caller ends there",
    ("cuda/kernel/listed_row.cuh", "stage", "true"): EXHAUSTIVE,
    ("cuda/kernel/listed_row.cuh", "kept == 0", "true"): "the first token passes every filter",
    ("cuda/kernel/listed_row.cuh", "kept = 1", "executed"): "the first token passes every filter",
    ("cuda/kernel/row_part.cuh", "dtype_", "true"): EXHAUSTIVE,
    ("cuda/kernel/row_part.cuh", "return 0.0f", "executed"): EXHAUSTIVE,
    ("cuda/kernel/sample_rows.cu", "i < RowJob::kMaxStages", "false"): AT_MOST_FOUR,
    ("cuda/kernel/sample_rows.cu", "i + 1 < RowJob::kMaxStages", "false"): AT_MOST_FOUR,
    ("cuda/kernel/listed_row.cuh", "stage < RowJob::kMaxStages", "false"): AT_MOST_FOUR,
    ("cuda/kernel/sample_rows.cu", "base < end", "false"): "the target lies in the run that is walked",
    ("cuda/kernel/sample_rows.cu", "error == cudaSuccess", "false"): HOST,
    ("cuda/kernel/sample_rows.cu", "error != cudaSuccess", "true"): HOST,
    ("cuda/kernel/sample_rows.cu", "return error", "executed"): HOST,
    ("cuda/kernel/sample_rows.cu", "loaded.ptxVersion >= kFirstWithClusters", "false"): HOST,
    ("cuda/kernel/sample_rows.cu", "loaded.binaryVersion >= kFirstWithClusters", "false"): HOST,
}


def profile(test, llvm_profdata, llvm_cov):
    """The export of llvm-cov after a run of the test; None if the test failed."""
    with tempfile.TemporaryDirectory() as folder:
        raw, merged = f"{folder}/raw", f"{folder}/merged"
        environment = {**os.environ, "LLVM_PROFILE_FILE": raw}
        if subprocess.run([test, "--gtest_brief=1"], env=environment, check=False).returncode != 0:
            return None
        subprocess.run([llvm_profdata, "merge", "-sparse", raw, "-o", merged], check=True)
        export = subprocess.run(
            [llvm_cov, "export", f"-instr-profile={merged}", test],
            stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        return json.loads(export.stdout)["data"][0]


def text_of(root, file, begin, end):
    """The source between two places, each a line and a column; for code, its first line."""
    lines = (root / file).read_text().splitlines()
    if begin[0] != end[0]:
        return lines[begin[0] - 1].strip()
    return lines[begin[0] - 1][begin[1] - 1 : end[1] - 1]


def gaps(functions, root):
    """(file, line, text, what is not reached) for the functions in cuda/, and the number of
    these."""
    # Keyed by the start of a region: code that `if constexpr` leaves out is a region that ends at
    # once.
    counts, ends, seen = collections.Counter(), {}, 0

    def count(name, place, what, times):
        begin, end = tuple(place[:2]), tuple(place[2:])
        counts[name, begin, what] += times
        ends[name, begin, what] = max(end, ends.get((name, begin, what), end))

    for function in functions:
        names = [os.path.relpath(name, root) for name in function["filenames"]]
        if not names[0].startswith("cuda/"):
            continue
        seen += 1
        for *place, times, file, _, kind in function["regions"]:
            if kind == CODE:
                count(names[file], place, "executed", times)
        for *place, true, false, file, _, kind in function["branches"]:
            # Both are 0 in code that is not reached, and if the compiler knows the condition.
            if kind == BRANCH and true + false > 0:
                count(names[file], place, "true", true)
                count(names[file], place, "false", false)
    found = {
        (file, begin[0], text_of(root, file, begin, ends[file, begin, what]), what)
        for (file, begin, what), times in counts.items()
        if times == 0
    }
    return found, seen


def check(found, allowed):
    """One message per gap that is not allowed, and per entry of `allowed` without a gap."""
    errors, unused = [], set(allowed)
    for file, line, text, what in sorted(found):
        if (file, text, what) in allowed:
            unused.discard((file, text, what))
        else:
            errors.append(f"{file}:{line}: never {what}: {text}")
    return errors + [f"{file}: allowed never to be {what}, and is: {text}"
                     for file, text, what in sorted(unused)]  # fmt: skip


def main():
    root, test, llvm_profdata, llvm_cov = sys.argv[1:]
    exported = profile(test, llvm_profdata, llvm_cov)
    if exported is None:
        return 1
    root = pathlib.Path(root).resolve()
    found, functions = gaps(exported["functions"], root)
    errors = check(found, ALLOWED)
    for error in errors:
        print(error)
    print(f"{functions} functions of kernels, {len(found)} gaps, {len(errors)} errors")
    return 1 if errors or functions == 0 else 0


if __name__ == "__main__":
    sys.exit(main())

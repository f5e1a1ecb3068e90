#!/usr/bin/env python3
"""Checks the layout of the tree. Usage: check_layout.py ROOT

- The top level holds only the agreed entries, besides dotfiles.
- A CMakeLists.txt names every source file, test and header, and one further up names the folder of
  every CMakeLists.txt. A file that none names would be neither built nor run nor checked.
"""

import pathlib
import re
import sys

TOP_LEVEL = {
    "CMakeLists.txt", "CMakePresets.json", "LICENSE", "README.md", "build",
    "client", "cuda", "deploy", "proto", "sampler", "server", "tests",
}  # fmt: skip
CODE = ("client", "cuda", "sampler", "server", "tests")


def must_be_named(path):
    """True if a file is built or run only when a CMakeLists.txt names it."""
    if path.suffix in (".cc", ".cu") or path.stem.endswith("_test"):
        return True
    return path.suffix in (".h", ".cuh") and path.parts[0] != "tests"


def is_named_above(root, entry):
    """True if a CMakeLists.txt above the entry names its path relative to itself. For a test the
    name without suffix is enough, because lists of tests are written that way."""
    for folder in entry.parents:
        cmake_file = folder / "CMakeLists.txt"
        stem = re.escape(entry.relative_to(folder).with_suffix("").as_posix())
        suffix = re.escape(entry.suffix)
        if entry.stem.endswith("_test"):
            suffix = f"({suffix})?"
        word = rf'(^|[\s("]|}}/){stem}{suffix}(?![\w/.-])'
        if cmake_file.exists() and re.search(word, cmake_file.read_text()):
            return True
        if folder == root:
            return False
    return False


def check(root):
    """One message for each entry out of place."""
    errors = [
        f"{entry.name}: not an agreed entry of the top level"
        for entry in sorted(root.iterdir())
        if not entry.name.startswith(".") and entry.name not in TOP_LEVEL
    ]
    for file in sorted(file for folder in CODE for file in (root / folder).rglob("*")):
        path = file.relative_to(root)
        if must_be_named(path) and not is_named_above(root, file):
            errors.append(f"{path}: no CMakeLists.txt names it")
        if file.name == "CMakeLists.txt" and not is_named_above(root, file.parent):
            errors.append(f"{path}: no CMakeLists.txt above names its folder")
    return errors


if __name__ == "__main__":
    problems = check(pathlib.Path(sys.argv[1]))
    print("\n".join(problems) or "everything is in its place")
    sys.exit(bool(problems))

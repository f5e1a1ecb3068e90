#!/usr/bin/env python3
"""Checks what the tree holds. Usage: check_layout.py ROOT

- The top level holds the agreed entries alone, dotfiles and what git ignores aside.
- Every source file, test and header is named by a CMakeLists.txt, and every CMakeLists.txt is
  added by one above it: what is not would be neither built nor run nor checked.
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
    """Whether a file takes part only when a CMakeLists.txt names it."""
    if path.suffix in (".cc", ".cu") or path.stem.endswith("_test"):
        return True
    return path.suffix == ".h" and path.parts[0] != "tests"


def names(cmake_file, file):
    """Whether the CMakeLists.txt names the file, by its path from there with or without suffix."""
    path = file.relative_to(cmake_file.parent)
    either = "|".join(re.escape(p.as_posix()) for p in (path, path.with_suffix("")))
    word = rf'(^|[\s("]|}}/)({either})(?![\w/.-])'
    return re.search(word, cmake_file.read_text()) is not None


def lists_above(root, folder):
    """The CMakeLists.txt of the folder and of those above it, the root's last."""
    for above in (folder, *folder.parents):
        if (above / "CMakeLists.txt").exists():
            yield above / "CMakeLists.txt"
        if above == root:
            return


def is_added(root, cmake_file):
    """Whether a CMakeLists.txt above has an add_subdirectory of this one's folder."""
    folder = cmake_file.parent
    return any(
        f"add_subdirectory({folder.relative_to(above.parent).as_posix()})" in above.read_text()
        for above in lists_above(root, folder.parent)
    )


def check(root):
    """One message per thing out of place."""
    errors = [
        f"{entry.name}: not an agreed entry of the top level"
        for entry in sorted(root.iterdir())
        if not entry.name.startswith(".") and entry.name not in TOP_LEVEL
    ]
    for file in sorted(file for folder in CODE for file in (root / folder).rglob("*")):
        path = file.relative_to(root)
        if must_be_named(path) and not any(names(c, file) for c in lists_above(root, file.parent)):
            errors.append(f"{path}: no CMakeLists.txt names it")
        if file.name == "CMakeLists.txt" and not is_added(root, file):
            errors.append(f"{path}: no CMakeLists.txt above adds its folder")
    return errors


if __name__ == "__main__":
    problems = check(pathlib.Path(sys.argv[1]))
    print("\n".join(problems) or "everything is in its place")
    sys.exit(bool(problems))

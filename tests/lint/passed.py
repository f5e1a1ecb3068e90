"""Remembers the checks of files that passed, by a hash of what a check reads.

They are kept outside of the build tree, in ~/.cache/token-sampler, so that a check is not repeated in
another clone either. A check reads the file, the headers of the project and of the build that it
includes, directly or through others, and what the caller names: the program, its release, its options.
It also reads headers of the system, which are not hashed: remove the folder after installing others.
"""

import functools
import hashlib
import os
import pathlib
import re

INCLUDE = re.compile(rb"^\s*#\s*include\s*[<\"]([^>\"]+)[>\"]", re.MULTILINE)


@functools.cache
def read(path):
    """The content of a file and the names in its include directives."""
    content = path.read_bytes()
    return content, tuple(name.decode() for name in INCLUDE.findall(content))


def include_folders(root, directory, words):
    """The folders of the project and of the build in which the compiler looks for headers."""
    folders = [root]
    for i, word in enumerate(words):
        if word in ("-I", "-isystem"):
            folders.append(pathlib.Path(directory, words[i + 1]))
        elif word.startswith("-I"):
            folders.append(pathlib.Path(directory, word[2:]))
    build = pathlib.Path(directory)
    return [f for f in folders if f.is_relative_to(root) or f.is_relative_to(build)]


def inputs(file, folders):
    """The file and all headers in `folders` that it includes, directly or through others."""
    found = {file}
    waiting = [file]
    while waiting:
        for name in read(waiting.pop())[1]:
            for folder in folders:
                header = folder / name
                if header.is_file():
                    if header not in found:
                        found.add(header)
                        waiting.append(header)
                    break
    return sorted(found)


class PassedChecks:
    """The checks of one kind."""

    def __init__(self, name, root, *constants):
        """`constants` are texts that all checks of the kind depend on."""
        cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
        self.folder = pathlib.Path(cache, "token-sampler", name)
        self.root = root
        self.constants = constants

    def key(self, file, directory, words):
        """The hash of the check of `file`, which is compiled in `directory` by a command of `words`."""
        sha = hashlib.sha256()

        def add(part):
            sha.update(part + b"\0")

        def without_place(text):
            return text.replace(str(directory), "BUILD").replace(str(self.root), "ROOT").encode()

        for text in (*self.constants, *words):
            add(without_place(text))
        for path in inputs(file, include_folders(self.root, directory, words)):
            add(without_place(str(path)))
            add(read(path)[0])
        return sha.hexdigest()

    def __contains__(self, key):
        return (self.folder / key).exists()

    def add(self, key):
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / key).touch()

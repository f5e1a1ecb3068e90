#!/usr/bin/env python3
"""Checks that includes keep the direction of dependencies. Usage: check_includes.py ROOT

The direction is sampler <- cuda, sampler <- server/batching <- server/listener <- server, and
client/usage <- server. The client includes only the generated messages and
sampler/status_macros.h. Includes of the project's own headers start at the root.
"""

import pathlib
import re
import sys

GRPC = ("grpc/", "grpcpp/", "google/protobuf/")
PROTO = ("token_sampler/v1/",)
KSERVE_PROTO = ("inference/", "grpc/health/v1/", "grpc/reflection/v1alpha/")
MACROS = "sampler/status_macros.h"
CUDA = ("cuda", "cub/", "thrust/", "cooperative_groups")

# Folder -> prefixes of what its files may include. The deepest folder that holds a file decides.
ALLOWED = {
    "sampler": ("sampler/", "absl/", "hwy/"),
    "cuda": ("cuda/", "sampler/", "absl/") + CUDA,
    "server": ("server/", "sampler/", "client/usage/", "absl/", "spdlog/", "CLI/", "nlohmann/")
    + PROTO + KSERVE_PROTO + GRPC,
    "server/batching": ("server/batching/", "sampler/", "absl/"),
    "server/memory": ("server/memory/", "sampler/", "absl/"),
    "server/listener": ("server/listener/", "server/batching/", MACROS, "absl/"),
    "client": ("client/", MACROS, "token_sampler/", "absl/", "CLI/", "nlohmann/") + GRPC,
    "client/usage": ("client/usage/", "absl/", "CLI/"),
    # The installed headers: plain types, no messages.
    "client/include": ("token_sampler/sampler_client.h", "absl/"),
}

# The only file of server/ that may include a backend.
BACKEND_FILES = {"server/program/backend.cc"}

# Headers of the standard library and of the operating system.
SYSTEM = re.compile(r"[a-z0-9_]+(\.h)?|(sys|netinet|arpa|linux)/[a-z0-9_]+\.h")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
SOURCES = {".cc", ".h", ".cu", ".cuh"}


def folder_of(path):
    """The deepest folder of ALLOWED that holds the file, or None."""
    folders = [f for f in ALLOWED if path.startswith(f + "/")]
    return max(folders, key=len, default=None)


def may_include(path, quote, header):
    allowed = ALLOWED[folder_of(path)]
    if path in BACKEND_FILES:
        allowed += ("cuda/cuda_sampler.h", "cuda/memory/ipc_memory.h", "cuda/memory/pinned_memory.h")
    if header.startswith(allowed):
        return True
    if quote == '"' or header.startswith(CUDA):
        return False
    return SYSTEM.fullmatch(header) is not None


def check(root):
    """One message per include that goes against the direction."""
    errors = []
    for folder in ("sampler", "cuda", "server", "client"):
        for file in sorted((root / folder).rglob("*")):
            if file.suffix not in SOURCES:
                continue
            path = file.relative_to(root).as_posix()
            for number, line in enumerate(file.read_text().splitlines(), start=1):
                match = INCLUDE.match(line)
                if match and not may_include(path, *match.groups()):
                    errors.append(
                        f"{path}:{number}: {folder_of(path)} may not include {match.group(2)}; "
                        f"it may include {' '.join(ALLOWED[folder_of(path)])}"
                    )
    return errors


if __name__ == "__main__":
    problems = check(pathlib.Path(sys.argv[1]))
    print("\n".join(problems) or "every include goes the right way")
    sys.exit(bool(problems))

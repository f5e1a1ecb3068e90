"""How the build compiles each source file, without its precompiled headers: these would hide a
missing include."""

import json
import shlex


def without_precompiled(command):
    """The words of a command, without the options by which GCC or Clang use CMake's precompiled
    header."""
    kept = []
    for word in shlex.split(command):
        if word.endswith(("/cmake_pch.hxx", "/cmake_pch.hxx.pch")):
            while kept[-1] in ("-Xclang", "-include", "-include-pch"):
                kept.pop()
        elif word not in ("-Winvalid-pch", "-fpch-preprocess"):
            kept.append(word)
    return kept


def compile_commands(build):
    """The entries of compile_commands.json, each with its words as "arguments"."""
    entries = json.loads((build / "compile_commands.json").read_text())
    return [
        {
            "file": entry["file"],
            "directory": entry["directory"],
            "arguments": without_precompiled(entry["command"]),
        }
        for entry in entries
        if not entry["file"].endswith(("/cmake_pch.hxx", "/cmake_pch.hxx.cxx"))
    ]

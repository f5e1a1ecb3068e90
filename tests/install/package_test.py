#!/usr/bin/env python3
"""Checks what the installed package gives to a project that is built with it: headers under one
folder, and none of the flags with which this build fixes its arithmetic.

Usage: package_test.py STAGE CONSUMER BUILD    (the installation, the project's build, this build)
"""

import json
import pathlib
import re
import sys
import unittest

STAGE, CONSUMER, BUILD = map(pathlib.Path, sys.argv[1:4])


def commands(build):
    """(source file, its flags) for every compilation."""
    for entry in json.loads((build / "compile_commands.json").read_text()):
        if not entry["file"].endswith((".hxx.cxx", ".hxx")):
            yield pathlib.Path(entry["file"]), entry["command"].split()


class PackageTest(unittest.TestCase):
    def test_installs_the_headers_of_the_client_alone(self):
        include = STAGE / "include"
        headers = {h.relative_to(include).as_posix() for h in include.rglob("*") if h.is_file()}
        messages = {h for h in headers if h.startswith("token_sampler/v1/") and h.endswith(".pb.h")}
        self.assertIn("token_sampler/v1/token_sampler.grpc.pb.h", messages)
        self.assertEqual(
            headers - messages,
            {f"token_sampler/{name}.h" for name in ("sampler_client", "sequence_stream", "shared_region")},
        )

    def test_leaves_the_arithmetic_of_its_users_alone(self):
        sources = dict(commands(CONSUMER))
        self.assertIn("consumer.cc", [source.name for source in sources])
        with_cuda = any(source.suffix == ".cu" for source, _ in commands(BUILD))
        self.assertEqual("kernel.cu" in [source.name for source in sources], with_cuda)
        for source, flags in sources.items():
            # The standard and where headers are is all that a package has to say; -forward... is of
            # CMake itself.
            ours = [flag for flag in flags if re.match("--?(f(?!orward-)|m|O|W)", flag)]
            self.assertEqual(ours, [], source)

    def test_every_file_of_the_build_has_exact_arithmetic(self):
        checked = 0
        for source, flags in commands(BUILD):
            nvcc = any(word.endswith("nvcc") for word in flags[:2])
            wanted = "--fmad=false" if nvcc else "-ffp-contract=off"
            self.assertIn(wanted, flags, source)
            checked += 1
        self.assertGreater(checked, 100)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])

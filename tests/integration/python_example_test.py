#!/usr/bin/env python3
"""Runs the Python examples of the pages, which must print what the page says below them.

Usage: python_example_test.py SERVER
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

from triton_package import install

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERVER = sys.argv[1]
REGION = f"token-sampler-logits-{os.getpid()}"


class PythonExampleTest(unittest.TestCase):
    def setUp(self):
        self.server = subprocess.Popen(
            [SERVER, "--listen=127.0.0.1:0", "--device=cpu", "--shared-memory=system"],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.addCleanup(self.server.communicate)
        self.addCleanup(self.server.terminate)
        while "serving on " not in (line := self.server.stderr.readline()):
            self.assertTrue(line, "the server did not start")
        self.address = line.split("serving on ")[1].strip()

    def run_example(self, page, path=""):
        """The lines that the only example of the page prints, and what the page says."""
        (example, said), = re.findall(
            r"^```python\n(.*?)^```\n[^`]*`([^`]*)`", (ROOT / page).read_text(), re.S | re.M
        )  # fmt: skip
        self.assertIn("127.0.0.1:50051", example)
        example = example.replace("127.0.0.1:50051", self.address)
        example = example.replace("token-sampler-logits", REGION)
        run = subprocess.run(
            [PYTHON, "-c", example], cwd=ROOT, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        self.assertEqual(run.returncode, 0, run.stdout)
        return run.stdout.splitlines(), said

    def test_stubs_print_what_is_said(self):
        self.addCleanup(pathlib.Path("/dev/shm", REGION).unlink, missing_ok=True)
        with tempfile.TemporaryDirectory() as stubs:
            protos = sorted((ROOT / "proto/token_sampler/v1").glob("*.proto"))
            subprocess.run(
                [PYTHON, "-m", "grpc_tools.protoc", f"-I{ROOT}/proto", f"--python_out={stubs}",
                 f"--grpc_python_out={stubs}", *protos], check=True,
            )  # fmt: skip
            lines, said = self.run_example("README.md", stubs)
        self.assertEqual(lines, [said, said])

    def test_triton_client_prints_what_is_said(self):
        lines, said = self.run_example("server/README.md")
        self.assertEqual(lines, [said])


if __name__ == "__main__":
    PYTHON = install("client")
    unittest.main(argv=sys.argv[:1])

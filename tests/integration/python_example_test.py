#!/usr/bin/env python3
"""Runs README.md's Python example, which must print what README.md says after it.

Usage: python_example_test.py SERVER
"""

import pathlib
import re
import subprocess
import sys
import unittest

from triton_package import install

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERVER = sys.argv[1]


class PythonExampleTest(unittest.TestCase):
    def setUp(self):
        self.server = subprocess.Popen(
            [SERVER, "--listen=127.0.0.1:0", "--device=cpu"], stderr=subprocess.PIPE, text=True
        )
        self.addCleanup(self.server.communicate)
        self.addCleanup(self.server.terminate)
        while "serving on " not in (line := self.server.stderr.readline()):
            self.assertTrue(line, "the server did not start")
        self.address = line.split("serving on ")[1].strip()

    def test_prints_what_is_said(self):
        (example, said), = re.findall(
            r"^```python\n(.*?)^```\n[^`]*`([^`]*)`", (ROOT / "README.md").read_text(), re.S | re.M
        )  # fmt: skip
        self.assertIn("127.0.0.1:50051", example)
        example = example.replace("127.0.0.1:50051", self.address)
        run = subprocess.run(
            [PYTHON, "-c", example], cwd=ROOT, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.assertEqual(run.returncode, 0, run.stdout)
        self.assertEqual(run.stdout.strip(), said)


if __name__ == "__main__":
    PYTHON = install("client")
    unittest.main(argv=sys.argv[:1])

#!/usr/bin/env python3
"""Checks that tests that need a Python package are skipped if it cannot be installed, and fail if
CI=true."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
# Makes a virtual environment whose pip reaches no package index.
PYTHON = """#!/bin/sh
mkdir -p "$3/bin"
printf '#!/bin/sh\\necho certificate verify failed >&2\\nexit 1\\n' >"$3/bin/pip"
chmod +x "$3/bin/pip"
"""


class PackageAbsentTest(unittest.TestCase):
    def run_without_packages(self, test, ci):
        with tempfile.TemporaryDirectory() as folder:
            python = pathlib.Path(folder, "python3")
            python.write_text(PYTHON)
            python.chmod(0o755)
            path = f"{folder}:{os.environ['PATH']}"
            return subprocess.run(
                [sys.executable, HERE / test, "server", "client"],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                env={**os.environ, "PATH": path, "XDG_CACHE_HOME": folder, "CI": ci},
            )  # fmt: skip

    def test_is_no_failure_but_in_ci(self):
        for test in ("tritonclient_test.py", "perf_analyzer_test.py", "python_example_test.py"):
            for ci, code in (("", 77), ("true", 1)):
                with self.subTest(test=test, ci=ci):
                    run = self.run_without_packages(test, ci)
                    self.assertEqual(run.returncode, code, run.stdout)
                    self.assertIn("certificate verify failed", run.stdout)
                    self.assertRegex(run.stdout, "tritonclient.* cannot be installed")


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""Runs Triton's perf_analyzer against the server: single calls, many in flight, streams.

Usage: perf_analyzer_test.py SERVER

Skipped (exit code 77) if the program or one of its libraries is missing.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

from triton_package import install

SERVER = sys.argv[1]
VOCAB = 64


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


class PerfAnalyzerTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = subprocess.Popen(
            [SERVER, "--listen=127.0.0.1:0", "--device=cpu"], stderr=subprocess.PIPE, text=True
        )
        while "serving on " not in (line := cls.server.stderr.readline()):
            assert line, "the server did not start"
        cls.address = line.split("serving on ")[1].strip()
        cls.scratch = tempfile.TemporaryDirectory()
        cls.data = pathlib.Path(cls.scratch.name, "logits.json")
        row = {"content": [float(i % 7) for i in range(VOCAB)], "shape": [VOCAB]}
        cls.data.write_text(json.dumps({"data": [{"logits": row}]}))

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()
        cls.server.terminate()
        cls.server.communicate()
        assert cls.server.returncode == 0, f"the server ended with {cls.server.returncode}"

    def measure(self, *flags):
        """The requests that it made, and the server's counts of those that succeeded and failed."""
        run = subprocess.run(
            [PROGRAM, "-m", "sampler", "-u", self.address, "-i", "grpc", "-b", "4",
             "--input-data", self.data, "--measurement-mode", "count_windows",
             "--measurement-request-count", "20", "--max-trials", "3",
             "--stability-percentage", "999", *flags],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
            env={**os.environ, "LD_LIBRARY_PATH": LIBRARIES},
        )  # fmt: skip
        self.assertEqual(run.returncode, 0, run.stdout)
        client = re.search(r"Request count: (\d+)", run.stdout)
        server = re.search(r"Inference count: (\d+)", run.stdout)
        self.assertTrue(client and server, run.stdout)
        self.assertGreaterEqual(int(client[1]), 20)
        self.assertGreaterEqual(int(server[1]), 4 * 20)

    def test_single_calls(self):
        self.measure("--concurrency-range", "1")

    def test_calls_in_flight(self):
        self.measure("--concurrency-range", "4", "--async")

    def test_streams(self):
        self.measure("--concurrency-range", "4", "--async", "--streaming")


if __name__ == "__main__":
    FOLDER = pathlib.Path(install("perf_analyzer"))
    PROGRAM = FOLDER / "bin" / "perf_analyzer"
    if not PROGRAM.exists():
        skip("the package has no perf_analyzer for this machine")
    PROGRAM.chmod(0o755)
    LIBRARIES = str(FOLDER / "nvidia" / "cuda_runtime" / "lib")
    needed = subprocess.run(
        ["ldd", PROGRAM], stdout=subprocess.PIPE, text=True, check=True,
        env={**os.environ, "LD_LIBRARY_PATH": LIBRARIES},
    ).stdout  # fmt: skip
    if missing := re.findall(r"(\S+) => not found", needed):
        skip(f"perf_analyzer needs {', '.join(missing)}")
    unittest.main(argv=sys.argv[:1])

#!/usr/bin/env python3
"""Tests that after the loss of its device the server fails calls, says NOT_SERVING and exits with
1.

Usage: device_lost_test.py SERVER CLIENT
"""

import json
import os
import pathlib
import subprocess
import sys
import unittest

WEIGHTS = pathlib.Path(__file__).resolve().parents[1] / "data" / "weights_1_2_5.npy"
SERVER, CLIENT = sys.argv[1:3]
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("TOKEN_SAMPLER_")}
# This runtime call comes after those at startup. Each call of the client adds a few.
LOSE_AT = "150"


class DeviceLostTest(unittest.TestCase):
    def setUp(self):
        self.server = subprocess.Popen(
            [SERVER, "--device=cuda", "--listen=127.0.0.1:0", "--log-format=json",
             "--drain-delay-ms=8000"],
            stderr=subprocess.PIPE, text=True, env=ENVIRONMENT | {"LOSE_DEVICE_AT": LOSE_AT},
        )  # fmt: skip
        self.addCleanup(self.server.stderr.close)
        self.addCleanup(self.server.kill)

    def log_until(self, beginning):
        while True:
            line = self.server.stderr.readline()
            self.assertTrue(line, f"the log ended without {beginning!r}")
            message = json.loads(line)["message"]
            if message.startswith(beginning):
                return message.removeprefix(beginning)

    def client(self, *arguments):
        return subprocess.run(
            [CLIENT, *arguments, "--address", self.address], capture_output=True, text=True,
            timeout=60, env=ENVIRONMENT, check=False,
        )  # fmt: skip

    def test_health_says_so_and_the_process_ends_with_1(self):
        self.address = self.log_until("serving on ")
        self.assertEqual(self.client("health").stdout.strip(), "SERVING")
        calls = 0
        while (call := self.client("sample", "--weights", str(WEIGHTS))).returncode == 0:
            calls += 1
            self.assertLess(calls, 100)
        self.assertGreater(calls, 0)
        self.assertIn("cudaErrorIllegalAddress", call.stderr)
        self.assertIn("cudaErrorIllegalAddress", self.log_until("the device is lost: "))
        self.log_until("received signal 15: draining")
        health = self.client("health")
        while health.stdout.strip() == "SERVING":
            health = self.client("health")
        self.assertEqual(health.stdout.strip(), "NOT_SERVING", health.stderr)
        self.assertEqual(health.returncode, 1)
        self.assertEqual(self.server.wait(timeout=60), 1)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])

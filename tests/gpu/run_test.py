#!/usr/bin/env python3
"""Runs run.sh and what it runs with the emulated programs: all of it but what only a GPU can tell.

Usage: run_test.py CHECK_PROGRAM BENCH_LIBRARY
"""

import ctypes
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
CHECK, LIBRARY = (pathlib.Path(path).resolve() for path in sys.argv[1:3])
# The one of tests/bench/run.sh.
CACHE = os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))
BENCH_PYTHON = f"{CACHE}/token-sampler-bench/bin/python3"


def has_torch(python):
    try:
        return subprocess.run([python, "-c", "import torch"], check=False,
                              stderr=subprocess.DEVNULL).returncode == 0  # fmt: skip
    except OSError:
        return False


class RunTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        built = cls.run_script("--build", cls.folder / "carried")
        assert built.returncode == 0, built.stdout

    @classmethod
    def run_script(cls, *options, **environment):
        return subprocess.run(
            [HERE / "run.sh", "--emulated", *options],
            env={**os.environ, "TOKEN_SAMPLER_EMULATED_CHECK": str(CHECK),
                 "TOKEN_SAMPLER_EMULATED_BENCH": str(LIBRARY), **environment},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip

    def run_carried(self, *options, **environment):
        return self.run_script("--binaries", self.folder / "carried", *options, **environment)

    def with_program(self, name, text):
        """A PATH on which a program of that name is this script."""
        folder = self.folder / self.id()
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
        return f"{folder}:{os.environ['PATH']}"

    def test_carries_what_a_bare_machine_lacks(self):
        names = {path.name for path in (self.folder / "carried").iterdir()}
        self.assertLessEqual({"token-sampler-gpu-check", "libtoken_sampler_gpu_bench.so"}, names)
        self.assertTrue(any(name.startswith("libabsl_") for name in names), names)
        self.assertTrue(any(name.startswith("libhwy") for name in names), names)

    def test_checks(self):
        run = self.run_carried("--only", "check", "--quick", "--rows", "2000")
        self.assertEqual(run.returncode, 0, run.stdout)
        for name in ("weights", "golden", "paths", "long", "batches", "ipc", "pinned", "random"):
            self.assertRegex(run.stdout, rf"(?m)^{name} .* same$")
        self.assertNotIn("== sanitizer", run.stdout)

    def test_fails_when_a_check_fails(self):
        run = self.run_carried("--only", "check", "--rows", "none")
        self.assertNotEqual(run.returncode, 0)

    def test_rejects_a_part_that_is_none(self):
        self.assertEqual(self.run_carried("--only", "everything").returncode, 2)

    def test_tells_what_the_sanitizer_says(self):
        for script, code, told in [
            ('[ "$1 $3 $4" = "--tool --error-exitcode 9" ] && [ -x "$5" ]', 0, "nothing found"),
            ("echo '========= Error: Race reported'; exit 9", 1, "Race reported"),
            ("echo 'Error: Device not supported'; exit 1", 0, "skipped: racecheck"),
            ("echo '========= COMPUTE-SANITIZER'; exec sleep 60", 0, "until it was stopped"),
            ("echo '========= Invalid read'; exec sleep 60", 1, "Invalid read"),
        ]:
            with self.subTest(script=script):
                path = self.with_program("compute-sanitizer", script)
                run = self.run_carried("--only", "sanitizer", "--limit", "1", PATH=path)
                self.assertEqual(run.returncode, code, run.stdout)
                self.assertIn(told, run.stdout)

    def test_skips_the_benchmark_without_torch(self):
        path = self.with_program("no-torch", "exit 1")
        run = self.run_carried("--only", "bench", PYTHON="no-torch", PATH=path)
        self.assertEqual(run.returncode, 0, run.stdout)
        self.assertIn("skipped: no Python with torch", run.stdout)

    def test_benchmarks(self):
        python = next(filter(has_torch, [sys.executable, BENCH_PYTHON]), None)
        if python is None:
            self.skipTest("no Python with torch")
        run = self.run_carried("--only", "bench", "--batch", "1", "--vocab", "300",
                               "--seconds", "0.001", PYTHON=python)  # fmt: skip
        self.assertEqual(run.returncode, 0, run.stdout)
        self.assertIn("| that, with penalties | 1 x 300 | BF16 |", run.stdout)
        self.assertIn("| target |", run.stdout)


class GpuCase(ctypes.Structure):
    """That of bench.py, which cannot be imported without torch."""

    _fields_ = [(name, ctypes.c_double) for name in
                ("temperature", "top_p", "min_p", "repetition", "frequency", "presence")]
    _fields_ += [("top_k", ctypes.c_uint32), ("is_bfloat16", ctypes.c_uint32)]  # fmt: skip


class LaunchApiTest(unittest.TestCase):
    ROWS, VOCAB = 3, 1000

    def setUp(self):
        self.library = ctypes.CDLL(str(LIBRARY))
        self.library.TokenSamplerGpuPlan.restype = ctypes.c_void_p
        for name in ("Launch", "Agree"):
            getattr(self.library, f"TokenSamplerGpu{name}").restype = ctypes.c_bool
        for name in ("EndToEnd", "FromHost"):
            getattr(self.library, f"TokenSamplerGpu{name}").restype = ctypes.c_double
        draw = random.Random(1)
        count = self.ROWS * self.VOCAB
        self.rows = (ctypes.c_float * count)(*(draw.gauss(0, 3) for _ in range(count)))

    def plan(self, case):
        handle = self.library.TokenSamplerGpuPlan(
            ctypes.byref(case), self.rows, ctypes.c_int64(self.ROWS), ctypes.c_int64(self.VOCAB),
            ctypes.c_uint64(7),
        )  # fmt: skip
        self.assertTrue(handle)
        return ctypes.c_void_p(handle)

    def test_kernel_and_sampler_agree_and_are_timed(self):
        plain = GpuCase(1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0, 0)
        penalised = GpuCase(0.8, 0.9, 0.05, 1.1, 0.1, 0.1, 50, 0)
        for case in (plain, penalised):
            plan = self.plan(case)
            self.assertTrue(self.library.TokenSamplerGpuLaunch(plan, None))
            self.assertTrue(self.library.TokenSamplerGpuAgree(plan))
            self.assertGreater(self.library.TokenSamplerGpuEndToEnd(plan, 3), 0)
            for on_cpu in (False, True):
                took = self.library.TokenSamplerGpuFromHost(plan, self.rows, on_cpu, 3)
                self.assertGreater(took, 0)
            self.library.TokenSamplerGpuFree(plan)

    def test_a_kernel_that_has_not_run_does_not_agree(self):
        plan = self.plan(GpuCase(1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0, 0))
        self.assertFalse(self.library.TokenSamplerGpuAgree(plan))
        self.library.TokenSamplerGpuFree(plan)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])

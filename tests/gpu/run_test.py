#!/usr/bin/env python3
"""Runs run.sh and its parts with the emulated programs, except for what needs a GPU.

Usage: run_test.py CHECK_PROGRAM BENCH_LIBRARY
"""

import ctypes
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import unittest

from launch_api import DTYPES, GpuCase, Plan, load

HERE = pathlib.Path(__file__).resolve().parent
CHECK, LIBRARY = (pathlib.Path(path).resolve() for path in sys.argv[1:3])
# The virtual environment of tests/bench/run.sh.
CACHE = os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))
BENCH_PYTHON = f"{CACHE}/token-sampler-bench/bin/python3"
PARTS = ["card", "quick", "target", "ncu", "full", "racecheck", "memcheck", "more"]
# The most time of one command on a GPU machine, less that of starting it.
MOST_SECONDS = 560
GRACE_SECONDS = 5
HANGS = "echo begun; trap '' TERM; while :; do sleep 60; done"


def has_torch(python):
    try:
        return subprocess.run([python, "-c", "import torch, numpy"], check=False,
                              stderr=subprocess.DEVNULL).returncode == 0  # fmt: skip
    except OSError:
        return False


PYTHON = next(filter(has_torch, [sys.executable, BENCH_PYTHON]), None)


class RunTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        built = cls.run_script("--build", cls.folder / "carried")
        assert built.returncode == 0, built.stdout
        cls.build_output = built.stdout

    @classmethod
    def run_script(cls, *options, **environment):
        return subprocess.run(
            [HERE / "run.sh", "--emulated", *options],
            env={**os.environ, "TOKEN_SAMPLER_EMULATED_CHECK": str(CHECK),
                 "TOKEN_SAMPLER_EMULATED_BENCH": str(LIBRARY), **environment},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip

    def setUp(self):
        self.own = self.folder / self.id()
        self.own.mkdir()
        self.output = self.own / "output"

    def script(self, name, text):
        """Makes a program of that name on the path that path() returns."""
        program = self.own / name
        program.write_text(f"#!/bin/bash\n{text}\n")
        program.chmod(0o755)
        return program

    def path(self):
        return f"{self.own}:{os.environ['PATH']}"

    def run_carried(self, *options, **environment):
        return self.run_script("--binaries", self.folder / "carried", "--output", self.output,
                               *options, **{"PATH": self.path(), **environment})  # fmt: skip

    def run_with_check(self, text, *options, **environment):
        """Runs run.sh with the shell script `text` as its check program."""
        self.script("token-sampler-gpu-check", text)
        return self.run_script("--binaries", self.own, "--output", self.output, *options,
                               **{"PATH": self.path(), **environment})  # fmt: skip

    def told(self, part):
        return (self.output / f"{part}.txt").read_text()

    def outcomes(self, run):
        """The outcome of each part, in the order of the summary."""
        summary = run.stdout.split("== summary")[-1].splitlines()[1:]
        return dict(line.split(maxsplit=1) for line in summary)

    def test_carries_what_a_bare_machine_lacks(self):
        names = {path.name for path in (self.folder / "carried").iterdir()}
        self.assertLessEqual({"token-sampler-gpu-check", "libtoken_sampler_gpu_bench.so"}, names)
        self.assertTrue(any(name.startswith("libabsl_") for name in names), names)
        self.assertTrue(any(name.startswith("libhwy") for name in names), names)
        self.assertRegex(self.build_output, r"carried: \d+ MiB\n")

    def test_runs_every_part_in_order(self):
        tool = 'for ((i = 1; i <= $#; ++i)); do echo "argument ${!i}"; done'
        self.script("ncu", tool)
        self.script("compute-sanitizer", tool)
        run = self.run_carried(PYTHON=PYTHON or "python3")
        self.assertEqual(run.returncode, 0, run.stdout)
        self.assertEqual(re.findall(r"(?m)^== (\w+), at most", run.stdout), PARTS)
        self.assertEqual(list(self.outcomes(run)), PARTS)
        # As many files as come back from the machine.
        self.assertEqual(sorted(os.listdir(self.output)), sorted(f"{part}.txt" for part in PARTS))
        self.assertRegex(self.told("card"), r"\d blocks per multiprocessor, \d+ clusters at once")
        for part in ("quick", "full"):
            lines = self.told(part).splitlines()
            names = ["weights", "golden", "paths", "long", "batches", "random", "ipc", "pinned"]
            self.assertEqual([line.split()[0] for line in lines[1:]], names)
            self.assertTrue(all(line.endswith(" same") for line in lines[1:]), lines)
        for words in ("--clock-control none", "--launch-count 4", "--section SpeedOfLight",
                      "--section WarpStateStats", "--section SchedulerStats"):  # fmt: skip
            self.assertIn("argument " + words.replace(" ", "\nargument "), self.told("ncu"))
        for tool in ("racecheck", "memcheck"):
            self.assertIn(f"argument --tool\nargument {tool}\n", self.told(tool))
        if PYTHON is None:
            self.assertIn("skipped: No module named 'torch'", self.outcomes(run)["target"])
            self.skipTest("the benchmark: no Python with torch")
        target = self.told("target")
        for kind in ("FP32", "BF16", "FP32, real, T 0.7", "FP32, normal x 6, T 0.7",
                     "FP32, BF16 values", "FP32, bitmask", "FP16"):  # fmt: skip
            self.assertIn(f"| top-k 50, top-p 0.9, min-p 0.05 | 1 x 300 | {kind} |", target)
        self.assertRegex(target, r"\| plain \| 1 x 300 \| FP32 \| [\d.]+\*? \| 9 \| [\d.]+ \|")
        self.assertIn("| torch | plain | 1 x 300 | FP32 |", target)
        self.assertIn("| that, with penalties | 1 x 300 | FP32, real, T 0.7 |", self.told("more"))

    def test_limits_are_those_of_the_help_and_end_in_time(self):
        stated = re.findall(r"(?m)^  (\w+) +(\d+|rest)  ", self.run_script("--help").stdout)
        self.assertEqual([part for part, _ in stated], PARTS)
        limits = [int(limit) for _, limit in stated[:-1]]
        self.assertEqual(limits, [5, 60, 150, 40, 120, 60, 60])
        self.assertLessEqual(sum(limits) + GRACE_SECONDS * len(PARTS), MOST_SECONDS)
        self.assertIn(f"at most {MOST_SECONDS} s", self.run_script("--help").stdout)

    def test_a_part_that_hangs_loses_only_itself(self):
        seconds = 6
        for name in ("ncu", "compute-sanitizer", "hanging-python"):
            self.script(name, HANGS)
        run = self.run_with_check(HANGS, "--seconds", str(seconds), PYTHON="hanging-python")
        self.assertEqual(run.returncode, 1, run.stdout)
        limits = dict(re.findall(r"(?m)^== (\w+), at most ([\d.]+) s", run.stdout))
        # The last part gets the time that the others leave: on a busy machine perhaps none.
        self.assertIn(list(limits), (PARTS, PARTS[:-1]))
        grace = GRACE_SECONDS * seconds / MOST_SECONDS
        self.assertLessEqual(sum(map(float, limits.values())) + grace * len(PARTS), seconds)
        outcomes = self.outcomes(run)
        self.assertEqual(list(outcomes), PARTS)
        if PARTS[-1] not in limits:
            self.assertEqual(outcomes.pop(PARTS[-1]), "skipped: no time is left")
        for part, outcome in outcomes.items():
            self.assertIn(f"stopped after {limits[part]} s" if "check" not in part else
                          f"until it was stopped, after {limits[part]} s", outcome)  # fmt: skip
        # The output until then is there.
        self.assertEqual(self.told("target"), "begun\n")

    def test_a_part_that_fails_loses_only_itself(self):
        self.script("no-torch", "echo \"skipped: No module named 'torch'\"; exit 77")
        self.script("ncu", "exit 0")
        self.script("compute-sanitizer", "exit 0")
        run = self.run_with_check("echo differs; exit 1", PYTHON="no-torch")
        self.assertEqual(run.returncode, 1, run.stdout)
        outcomes = self.outcomes(run)
        self.assertEqual(list(outcomes), PARTS)
        for part in ("card", "quick", "full"):
            self.assertEqual(outcomes[part], "FAILED with exit code 1")
        for part in ("target", "more"):
            self.assertEqual(outcomes[part], "skipped: No module named 'torch'")

    def test_stops_its_programs_before_it_has_to(self):
        run = self.run_with_check('echo "$@"', "--only", "full")
        self.assertEqual(run.returncode, 0, run.stdout)
        self.assertIn("--seconds 102 ", self.told("full"))

    def test_rejects_what_it_does_not_know(self):
        for options in (["--only", "everything"], ["--quick"], ["--seconds", "561"],
                        ["--seconds", "0"]):  # fmt: skip
            self.assertEqual(self.run_carried(*options).returncode, 2)

    def test_tells_what_the_tools_say(self):
        for part, script, code, told in [
            ("memcheck", '[ "$1 $3 $4" = "--tool --error-exitcode 9" ] && [ -x "$5" ]', 0, "ok"),
            ("racecheck", "echo '========= Error: Race reported'; exit 9", 1, "exit code 9"),
            ("racecheck", "echo '========= Error: Device not supported'; exit 1", 0, "skipped: "),
            ("racecheck", "echo '========= Potential invalid __shared__ read of size 4 bytes'; exit 9",
             0, "ok, but for"),
            ("racecheck", "echo '========= COMPUTE-SANITIZER'; exec sleep 60", 0, "nothing found"),
            ("memcheck", "echo '========= Invalid read'; exec sleep 60", 1, "stopped after"),
            # More than fits a pipe.
            ("memcheck", "for i in {1..9999}; do echo '========= Invalid read'; done; exec sleep 60",
             1, "stopped after"),
            ("ncu", "echo '==ERROR== Failed to initialize the profiler'; exit 1", 0, "skipped: "),
            ("ncu", "echo \"skipped: No module named 'torch'\"; exit 9", 0, "skipped: No module"),
            ("ncu", "echo '==ERROR== No kernels were profiled'; exit 1", 1, "exit code 1"),
        ]:
            with self.subTest(part=part, script=script):
                self.script("ncu" if part == "ncu" else "compute-sanitizer", script)
                run = self.run_carried("--only", part, "--seconds", "9")
                self.assertEqual(run.returncode, code, run.stdout)
                self.assertIn(told, self.outcomes(run)[part])

    @unittest.skipIf(PYTHON is None, "no Python with torch")
    def test_takes_peers_from_what_is_carried(self):
        package = self.own / "peers" / "flashinfer"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("__version__ = '1.2.3'\n")
        (package / "sampling.py").write_text(
            "import torch\n"
            "def softmax(values): return values.softmax(-1)\n"
            "def draw(values, *_, **__): return torch.zeros(len(values))\n"
            "sampling_from_logits = top_p_sampling_from_probs = min_p_sampling_from_probs = draw\n"
            "top_k_top_p_sampling_from_logits = draw\n"
            "def top_k_renorm_probs(values, _): return values\n"
            "top_p_renorm_probs = top_k_renorm_probs\n"
        )
        (package / "cake_sampling.py").write_text(
            "def top_k_top_p_sampling_from_probs(*_, **__): raise ValueError('no such device')\n"
        )
        for file in (CHECK, LIBRARY):
            (self.own / file.name.replace("_emulated", "")).symlink_to(file)
        run = self.run_script("--binaries", self.own, "--output", self.output, "--only", "target",
                              PYTHON=PYTHON)  # fmt: skip
        self.assertEqual(run.returncode, 0, run.stdout)
        target = self.told("target")
        self.assertIn("flashinfer 1.2.3\n", target)
        for name in ("FlashInfer", "FlashInfer, per row"):
            self.assertIn(f"| {name} | plain | 1 x 300 | FP32 |", target)
        for name in ("FlashInfer cake", "FlashInfer cake, per row"):
            self.assertIn(f"skipped: the rest of {name}, for no such device\n", target)
        self.assertIn("skipped: vLLM's Triton kernel, for No module named", target)


class LaunchApiTest(unittest.TestCase):
    ROWS, VOCAB = 3, 1000
    MASK_BYTES = ROWS * 32 * 4

    def setUp(self):
        self.library = load(LIBRARY)
        draw = random.Random(1)
        count = self.ROWS * self.VOCAB
        self.rows = (ctypes.c_float * count)(*(draw.gauss(0, 3) for _ in range(count)))

    def plan(self, bitmasks=None, rows=None, **fields):
        case = GpuCase(**{"temperature": 1.0, "top_p": 1.0, "repetition": 1.0, **fields})
        masks = None if bitmasks is None else ctypes.addressof(bitmasks)
        rows = ctypes.addressof(rows or self.rows)
        plan = Plan(self.library, case, rows, self.ROWS, self.VOCAB, 7, masks)
        self.addCleanup(plan.close)
        return plan

    def test_kernel_and_sampler_agree_and_are_timed(self):
        for fields in (
            {},
            {"temperature": 0.8, "top_p": 0.9, "min_p": 0.05, "repetition": 1.1,
             "frequency": 0.1, "presence": 0.1, "top_k": 50},
        ):  # fmt: skip
            plan = self.plan(**fields)
            plan.launch()
            self.assertTrue(plan.agrees())
            self.assertGreater(plan.end_to_end(3), 0)
            for on_cpu in (False, True):
                self.assertGreater(plan.from_host(ctypes.addressof(self.rows), on_cpu, 3), 0)

    def test_takes_every_type(self):
        draw = random.Random(2)
        count = self.ROWS * self.VOCAB
        # Magnitudes below 2, in either type.
        halves = (ctypes.c_uint16 * count)(*(draw.randrange(0x3C00, 0x4000) for _ in range(count)))
        for name in ("float16", "bfloat16"):
            plan = self.plan(rows=halves, dtype=DTYPES[name])
            plan.launch()
            self.assertTrue(plan.agrees(), name)

    def test_tokens_that_a_bitmask_bans_are_not_drawn(self):
        for byte, drawn in ((0x55, True), (0, False)):
            bitmasks = (ctypes.c_uint8 * self.MASK_BYTES)(*[byte] * self.MASK_BYTES)
            plan = self.plan(bitmasks)
            plan.launch()
            self.assertEqual(plan.agrees(), drawn)

    def test_a_kernel_that_has_not_run_does_not_agree(self):
        self.assertFalse(self.plan().agrees())


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])

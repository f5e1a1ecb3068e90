#!/usr/bin/env python3
"""Compares the kept sets and probabilities of random rows with those of transformers' logits warpers
(preset hf) and of llama.cpp's sampler chain (preset llama_cpp).

Usage: kept_sets_test.py SERVER CLIENT

The test looks for the engines in the environment that tests/bench/run.sh installs. It names and
skips an engine that is missing; if both are, the exit code is 77.
"""

import ctypes
import dataclasses
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ENVIRONMENT = pathlib.Path(
    os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"), "token-sampler-bench"
)
PYTHON = ENVIRONMENT / "bin/python3"
ROWS, VOCAB = 240, 500
TINY_ROWS, TINY_VOCAB = 600, 8  # rows full of ties
# Engines add in float32: if a mass is this close to a threshold, both sets are right.
ROUNDING = 1e-5


@dataclasses.dataclass(frozen=True)
class Case:
    """Parameters of the client, by the names of its flags."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    epsilon_cutoff: float = 0.0
    eta_cutoff: float = 0.0
    top_n_sigma: float = 0.0
    xtc: float = 0.0  # the threshold; it always acts
    dynamic_temperature: float = 0.0
    min_tokens_to_keep: int = 1

    def moved(self, by):
        """The case with every threshold moved a little: above 0, the filters keep more."""
        return dataclasses.replace(
            self,
            top_p=min(1.0, self.top_p + by) if self.top_p < 1 else 1.0,
            typical_p=min(1.0, self.typical_p + by) if self.typical_p < 1 else 1.0,
            min_p=self.min_p * (1 - by),
            epsilon_cutoff=self.epsilon_cutoff * (1 - by),
            eta_cutoff=self.eta_cutoff * (1 - by),
            top_n_sigma=self.top_n_sigma * (1 + by),
            xtc=self.xtc * (1 + by),
        )

    def flags(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                value = f"1:{value!r}" if field.name == "xtc" else repr(value)
                yield "--" + field.name.replace("_", "-")
                yield value


HF_CASES = [
    Case(),
    Case(temperature=0.7),
    Case(top_k=1),
    Case(top_k=50),
    Case(top_p=0.3),
    Case(top_p=0.95),
    Case(min_p=0.05),
    Case(typical_p=0.2),
    Case(typical_p=0.9),
    Case(epsilon_cutoff=3e-3),
    Case(eta_cutoff=3e-3),
    Case(top_p=0.5, min_tokens_to_keep=20),
    Case(temperature=1.5, top_k=40, top_p=0.9, min_p=0.02),
    Case(temperature=0.8, top_k=100, typical_p=0.9, epsilon_cutoff=1e-3, eta_cutoff=1e-3),
]
# Every warper with a minimum of kept tokens, with minima around the number of tokens.
HF_TINY_CASES = [
    dataclasses.replace(case, min_tokens_to_keep=least)
    for case in (
        Case(top_k=1),
        Case(top_k=3),
        Case(top_p=0.4),
        Case(min_p=0.7),
        Case(typical_p=0.01),
        Case(typical_p=0.45),
        Case(epsilon_cutoff=0.3),
        Case(eta_cutoff=0.3),
        Case(temperature=0.7, top_k=2, typical_p=0.6),
        Case(top_k=2, top_p=0.6, min_p=0.3, epsilon_cutoff=0.1, eta_cutoff=0.2),
    )
    for least in (1, 2, 3, 5, 9)
]
LLAMA_CPP_CASES = [
    Case(),
    Case(temperature=0.7),
    Case(top_k=50),
    Case(top_p=0.3),
    Case(top_p=0.95),
    Case(min_p=0.05),
    Case(typical_p=0.2),
    Case(typical_p=0.9),
    Case(top_n_sigma=1.0),
    Case(xtc=0.02),
    Case(dynamic_temperature=0.5),
    Case(temperature=1.5, top_k=40, top_p=0.9, min_p=0.02),
    Case(temperature=0.8, top_n_sigma=1.5, top_p=0.9, xtc=0.05),
    # Not after top-n-sigma, which masks tokens in llama.cpp: a masked token makes the entropy NaN.
    Case(temperature=0.8, top_k=100, typical_p=0.9, top_p=0.95, min_p=0.02, xtc=0.05),
]


def transformers_kept(case, rows):
    """Log-probabilities per row, -infinity for tokens that are not kept."""
    import torch
    import transformers as hf

    least = case.min_tokens_to_keep
    warpers = hf.LogitsProcessorList()
    if case.temperature != 1:
        warpers.append(hf.TemperatureLogitsWarper(case.temperature))
    if case.top_k > 0:
        warpers.append(hf.TopKLogitsWarper(case.top_k, min_tokens_to_keep=least))
    if case.top_p < 1:
        warpers.append(hf.TopPLogitsWarper(case.top_p, min_tokens_to_keep=least))
    if case.min_p > 0:
        warpers.append(hf.MinPLogitsWarper(case.min_p, min_tokens_to_keep=least))
    if case.typical_p < 1:
        warpers.append(hf.TypicalLogitsWarper(case.typical_p, min_tokens_to_keep=least))
    if case.epsilon_cutoff > 0:
        warpers.append(hf.EpsilonLogitsWarper(case.epsilon_cutoff, min_tokens_to_keep=least))
    if case.eta_cutoff > 0:
        warpers.append(hf.EtaLogitsWarper(case.eta_cutoff, min_tokens_to_keep=least))
    scores = warpers(torch.zeros(len(rows), 1, dtype=torch.long), torch.from_numpy(rows.copy()))
    return scores.double().log_softmax(dim=-1).numpy()


def llama_cpp_kept(case, rows):
    """The same for llama.cpp's chain."""
    import llama_cpp as llama
    import numpy as np

    chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
    stages = []
    if case.top_n_sigma > 0:
        stages.append(llama.llama_sampler_init_top_n_sigma(case.top_n_sigma))
    if case.top_k > 0:
        stages.append(llama.llama_sampler_init_top_k(case.top_k))
    if case.typical_p < 1:
        stages.append(llama.llama_sampler_init_typical(case.typical_p, 1))
    if case.top_p < 1:
        stages.append(llama.llama_sampler_init_top_p(case.top_p, 1))
    if case.min_p > 0:
        stages.append(llama.llama_sampler_init_min_p(case.min_p, 1))
    if case.xtc > 0:
        stages.append(llama.llama_sampler_init_xtc(1.0, case.xtc, 1, 0))
    if case.dynamic_temperature > 0:
        stages.append(
            llama.llama_sampler_init_temp_ext(case.temperature, case.dynamic_temperature, 1.0)
        )
    elif case.temperature != 1:
        stages.append(llama.llama_sampler_init_temp(case.temperature))
    for stage in stages:
        llama.llama_sampler_chain_add(chain, stage)
    tokens = np.empty(
        rows.shape[1], np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
    )
    data = tokens.ctypes.data_as(ctypes.POINTER(llama.llama_token_data))
    result = np.full(rows.shape, -np.inf)
    for row, kept in zip(rows, result):
        tokens["id"] = np.arange(len(row))
        tokens["logit"] = row
        array = llama.llama_token_data_array(data, len(row), -1, False)
        llama.llama_sampler_apply(chain, ctypes.byref(array))
        # A stage that drops the first tokens moves the pointer.
        first = (ctypes.addressof(array.data.contents) - tokens.ctypes.data) // tokens.itemsize
        left = tokens[first : first + array.size]
        kept[left["id"]] = left["logit"].astype(np.float64)
        kept -= kept.max()
        kept -= np.log(np.exp(kept).sum())
    llama.llama_sampler_free(chain)
    return result


class KeptSetsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        import numpy as np

        cls.server = subprocess.Popen(
            [SERVER, "--listen=127.0.0.1:0", "--device=cpu"], stderr=subprocess.PIPE, text=True
        )
        while "serving on " not in (line := cls.server.stderr.readline()):
            assert line, "the server did not start"
        cls.address = line.split("serving on ")[1].strip()
        cls.folder = tempfile.TemporaryDirectory()
        random = np.random.default_rng(1)
        deviations = np.resize([0.5, 1, 3, 6], (ROWS, 1))
        cls.rows = (random.standard_normal((ROWS, VOCAB)) * deviations).astype(np.float32)
        # A third of the rows has many ties.
        cls.rows[::3] = np.round(cls.rows[::3] * 4) / 4

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()
        cls.server.terminate()
        cls.server.communicate()

    def ours(self, case, preset, rows):
        import numpy as np

        file = pathlib.Path(self.folder.name, "rows.npy")
        np.save(file, rows)
        printed = subprocess.run(
            [CLIENT, "sample", "--address", self.address, "--logits", file, "--seed", "1"]
            + ["--stage-preset", preset, "--kept-set", "--format", "json", *case.flags()],
            stdout=subprocess.PIPE, check=True,
        ).stdout  # fmt: skip
        result = np.full(rows.shape, -np.inf)
        for row, kept in zip(json.loads(printed)["rows"], result):
            for token in row["kept_set"]:
                kept[token["token_id"]] = token["logprob"]
        return result

    def compare(self, case, preset, rows, theirs):
        """Fails unless each kept set is that of the engine; returns the number of rows that
        rounding decided."""
        import numpy as np

        ours, stronger, weaker = (
            self.ours(case.moved(by), preset, rows) for by in (0, -ROUNDING, ROUNDING)
        )
        rounded = 0
        for r, row in enumerate(rows):
            kept = [np.isfinite(table[r]) for table in (ours, theirs, stronger, weaker)]
            # Among equal logits, an engine may keep tokens other than those with the lowest ids.
            values = [np.sort(row[ids]) for ids in kept]
            if np.array_equal(values[0], values[1]):
                np.testing.assert_allclose(
                    np.sort(ours[r][kept[0]]), np.sort(theirs[r][kept[1]]), atol=1e-3
                )
                continue
            within = np.isin(values[2], values[1]).all() and np.isin(values[1], values[3]).all()
            self.assertTrue(within, f"row {r}: {len(values[0])} kept, there {len(values[1])}")
            rounded += 1
        self.assertLessEqual(rounded, len(rows) // 50, "too many for rounding")
        return rounded

    def run_engine(self, preset, cases, kept, rows):
        rounded = 0
        for case in cases:
            with self.subTest(case=" ".join(case.flags())):
                rounded += self.compare(case, preset, rows, kept(case, rows))
        print(f"{preset}: {len(cases)} x {len(rows)} rows, rounding decided {rounded}")

    def test_transformers(self):
        import numpy as np

        if importlib.util.find_spec("transformers") is None:
            self.skipTest("transformers is not installed")
        rows = self.rows.copy()
        rows[1::4, ::3] = -np.inf
        self.run_engine("hf", HF_CASES, transformers_kept, rows)

    def test_transformers_with_ties_and_minima(self):
        import numpy as np

        if importlib.util.find_spec("transformers") is None:
            self.skipTest("transformers is not installed")
        random = np.random.default_rng(2)
        values = np.array([0, 1, 2, 0.5, -1, -3, -40, -np.inf], np.float32)
        # Each row has at most four different values, and at least one token that is not masked.
        some = random.choice(values, (TINY_ROWS, 4))
        rows = np.take_along_axis(some, random.integers(0, 4, (TINY_ROWS, TINY_VOCAB)), axis=1)
        rows[:, 0] = np.maximum(rows[:, 0], -3)
        self.run_engine("hf", HF_TINY_CASES, transformers_kept, rows)

    def test_llama_cpp(self):
        if importlib.util.find_spec("llama_cpp") is None:
            self.skipTest("llama-cpp-python is not installed")
        # No masked tokens: they would make the entropy of its typical sampling NaN.
        self.run_engine("llama_cpp", LLAMA_CPP_CASES, llama_cpp_kept, self.rows)


if __name__ == "__main__":
    if pathlib.Path(sys.executable) != PYTHON and PYTHON.exists():
        os.execv(PYTHON, [PYTHON, "-B", *sys.argv])
    SERVER, CLIENT = sys.argv[1:3]
    if not any(importlib.util.find_spec(name) for name in ("transformers", "llama_cpp")):
        print("skipped: neither transformers nor llama-cpp-python is installed")
        sys.exit(77)
    unittest.main(argv=sys.argv[:1])

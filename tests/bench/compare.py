#!/usr/bin/env python3
"""Prints how many times faster the CPU sampler is than its peers. Usage: see tests/bench/run.sh

It measures every cell on the same rows, with the samplers in turn and one thread each. A turn
starts with a call that does not count, so that rows that fit into the cache are in it.
"""

import argparse
import ctypes
import math
import os
import statistics
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402

import peers  # noqa: E402

CASES = [
    peers.Case("plain"),
    peers.Case("top-k 50", top_k=50),
    peers.Case("top-p 0.9", top_p=0.9),
    peers.Case("top-k 50, top-p 0.9", top_k=50, top_p=0.9),
    peers.Case("min-p 0.05", min_p=0.05),
    peers.Case(
        "everything",
        temperature=0.8,
        top_k=50,
        top_p=0.9,
        min_p=0.05,
        repetition=1.1,
        frequency=0.1,
        presence=0.1,
    ),
]
SHAPES = ["peaked", "flat", "real"]
HARD_SHAPES = ["ascending", "all equal", "two values"]
HISTORY = [token * 37 % 13_795 for token in range(256)]


class BenchCase(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_double)
        for name in ("temperature", "top_p", "min_p", "repetition", "frequency", "presence")
    ] + [("top_k", ctypes.c_uint32)]


class TokenSampler:
    """The library's CPU sampler."""

    def __init__(self, library, case, threads):
        fields = {name: getattr(case, name) for name, _ in BenchCase._fields_}
        self.library = library
        create = library.TokenSamplerBenchCreate
        create.restype = ctypes.c_void_p
        self.handle = ctypes.c_void_p(create(threads, ctypes.byref(BenchCase(**fields))))
        self.history = (ctypes.c_uint32 * len(HISTORY))(*HISTORY)
        self.history_size = ctypes.c_int64(len(HISTORY) if case.penalties else 0)
        self.seed = 0

    def bind(self, rows):
        """A function that draws from the rows."""
        count, vocab = rows.shape
        tokens = np.empty(count, np.uint32)
        sample = self.library.TokenSamplerBenchSample
        before = (
            self.handle,
            rows.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_int64(count),
            ctypes.c_int64(vocab),
            self.history,
            self.history_size,
        )
        out = tokens.ctypes.data_as(ctypes.c_void_p)

        def draw():
            self.seed += count
            if not sample(*before, ctypes.c_uint64(self.seed), out):
                sys.exit("the CPU sampler failed")
            return tokens

        return draw


class Maximum:
    """A SIMD maximum of every row: it reads the row once, which no sampler can do faster."""

    def __init__(self, library, threads):
        library.TokenSamplerBenchThreads.restype = ctypes.c_void_p
        self.threads = ctypes.c_void_p(library.TokenSamplerBenchThreads(threads))
        self.find = library.TokenSamplerBenchMaximum

    def bind(self, rows):
        count, vocab = rows.shape
        maxima = np.empty(count, np.float32)
        args = (
            self.threads,
            rows.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_int64(count),
            ctypes.c_int64(vocab),
            maxima.ctypes.data_as(ctypes.c_void_p),
        )

        def find():
            self.find(*args)
            return maxima

        return find


class Peer:
    def __init__(self, name, case):
        self.sample = peers.PEERS[name](case, HISTORY)

    def bind(self, rows):
        return lambda: self.sample(rows)


def make_rows(library, shape, vocab, count):
    rows = np.empty((count, vocab), np.float32)
    for variant, row in enumerate(rows):
        library.TokenSamplerBenchRow(
            shape.encode(),
            ctypes.c_int64(vocab),
            ctypes.c_uint64(variant),
            row.ctypes.data_as(ctypes.c_void_p),
        )
    return rows


def present_peers():
    """Names of the peers that are installed."""
    names = []
    for name in peers.PEERS:
        try:
            Peer(name, CASES[0])
            names.append(name)
        except ImportError as error:
            print(f"skipped: {name} ({error})")
    return names


def seconds(samplers, rows, budget):
    """Median time of each sampler on the rows. They take turns until `budget` seconds are spent."""
    draws = [sampler.bind(rows) for sampler in samplers]
    times = [[] for _ in samplers]
    end = time.perf_counter() + budget
    while not times[-1] or time.perf_counter() < end:
        for draw, taken in zip(draws, times):
            began = time.perf_counter()
            draw()
            estimate = time.perf_counter() - began
            for _ in range(max(1, min(10, int(0.01 / estimate)))):
                began = time.perf_counter()
                draw()
                taken.append(time.perf_counter() - began)
    return [statistics.median(taken) for taken in times]


def print_header(*columns):
    print("\n| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")


def blocks(options):
    """Shape, length and numbers of the rows that are compared."""
    for vocab in options.vocab:
        for shape in SHAPES:
            yield shape, vocab, options.batch
    for shape in HARD_SHAPES:
        yield shape, 128_256, [1]


def compare(library, options):
    names = present_peers()
    rivals = [name for name in names if name != "numpy"]
    least = {}
    maxima = [Maximum(library, threads) for threads in (1, 2)]
    columns = ["case", "rows", "ours, us per row", *names, "best of the peers"]
    print_header(*columns, "2 threads : 1 (maximum's)")
    for shape, vocab, batches in blocks(options):
        all_rows = make_rows(library, shape, vocab, max(batches))
        for case in CASES:
            samplers = [TokenSampler(library, case, 1)]
            samplers += [Peer(name, case) for name in names]
            for batch in batches:
                rows = all_rows[:batch]
                ours, *others = seconds(samplers, rows, options.seconds)
                ratios = [other / ours for other in others]
                best = min(ratios[: len(rivals)], default=math.nan)
                kind = "with top-k" if case.top_k else "without top-k"
                least[kind] = min(least.get(kind, (math.inf, "")), (best, case.name))
                scaling = ""
                if batch == 64:
                    one, two, max_one, max_two = seconds(
                        [samplers[0], TokenSampler(library, case, 2)] + maxima,
                        rows,
                        options.seconds,
                    )
                    scaling = f"{one / two:.2f} ({max_one / max_two:.2f})"
                cells = [case.name, f"{batch} x {vocab} {shape}", f"{ours / batch * 1e6:.1f}"]
                cells += [f"{ratio:.1f}" for ratio in ratios] + [f"{best:.1f}", scaling]
                print("| " + " | ".join(cells) + " |", flush=True)
    print()
    for kind, (ratio, name) in least.items():
        print(f"least {kind}: {ratio:.1f} times the best of {', '.join(rivals)} ({name})")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vocab", type=int, nargs="+", default=[32_000, 128_256, 262_144])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=1.0, help="per cell (default: 1)")
    parser.add_argument("library", help="libtoken_sampler_bench_c.so")
    options = parser.parse_args()
    compare(ctypes.CDLL(options.library), options)


if __name__ == "__main__":
    main()

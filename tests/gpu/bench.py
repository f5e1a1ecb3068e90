#!/usr/bin/env python3
"""Prints the time of the CUDA sampler's kernel, with its targets and its peers.
Usage: see tests/gpu/run.sh

Every cell is measured in this run: medians of CUDA events around launches that go through inputs
four times larger than the L2 cache. Work of less than 3 ms, ours and that of peers, is replayed
from a CUDA graph, so that the time of Python's launches does not hide that of the device. A * marks
short work that cannot be captured. A "pass" is the time of reading the logits once at the bandwidth
of a copy. "End to end" is a call of the whole sampler with its rows on the device. "From host" is
one with rows in host memory, beside the CPU sampler's time.
"""

import argparse
import dataclasses
import statistics
import sys
import time

import launch_api

BEGAN = time.monotonic()
SKIPPED = 77

try:
    import torch

    import cases
    import peers
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(SKIPPED)

GRAPH_BELOW_US = 3000
ROTATED_CACHES = 4  # size of all inputs, in sizes of the L2 cache
LEAST_ROTATED_BYTES = 256 << 20
# For ncu: the case, the kind of rows, their number.
LAUNCHES = [
    (cases.FILTERED, cases.FP32, 64),
    (cases.PLAIN, cases.FP32, 512),
    (cases.TOP_P, cases.FP32, 512),
    (cases.FILTERED, cases.BF16, 512),
]


class OnGpu:
    """Time by CUDA events."""

    device = "cuda"
    figure_seconds = 0.05
    calls = 100
    copy_bytes = 2 << 30
    target_vocab, target_batches = cases.TARGET_VOCAB, cases.TARGET_BATCHES
    vocabs = [128_256, 151_936, 32_000, 262_144]
    batches = [64, 1, 512, 8, 128, 32, 256, 1024]

    def __init__(self):
        torch.cuda.set_stream(torch.cuda.Stream())
        self.name = torch.cuda.get_device_name()
        cache = torch.cuda.get_device_properties(0).L2_cache_size
        self.rotated_bytes = max(LEAST_ROTATED_BYTES, ROTATED_CACHES * cache)

    def captured(self, work):
        """A function that replays the work from a graph; None if it cannot be captured."""
        # torch.cuda.graph would collect garbage each time, which takes longer than the figure.
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        try:
            graph.capture_begin()
            try:
                work()
            finally:
                graph.capture_end()
        except RuntimeError:
            torch.cuda.synchronize()
            return None
        return graph.replay

    def release(self):
        """Frees memory that torch keeps after graphs, which the library could not allocate
        otherwise."""
        torch.cuda.empty_cache()

    def stream(self):
        return torch.cuda.current_stream().cuda_stream

    def microseconds(self, work):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) * 1e3


class Emulated:
    """Time by the host's clock, with the kernel on the host, for tests of this program."""

    device = "cpu"
    name = "emulated, where times mean nothing"
    figure_seconds = 0.0
    calls = 2
    copy_bytes = 64 << 20
    target_vocab, target_batches = 300, [1]
    vocabs, batches = [300], [1]
    rotated_bytes = 0

    def captured(self, _):
        return None

    def release(self):
        pass

    def stream(self):
        return None

    def microseconds(self, work):
        began = time.perf_counter()
        work()
        return (time.perf_counter() - began) * 1e6


def median(machine, sample, inputs, can_be_captured=True):
    """Microseconds per call, from rounds through all inputs, and a * if the calls were short and
    could not be replayed from a graph."""

    def work():
        for index, rows in enumerate(inputs):
            sample(index, rows)

    work()
    one_round, note = work, ""
    if machine.microseconds(work) / len(inputs) < GRAPH_BELOW_US:
        one_round = machine.captured(work) if can_be_captured else None
        if one_round is None:
            one_round, note = work, "*"
    taken = []
    end = time.perf_counter() + machine.figure_seconds
    while len(taken) < 3 or (time.perf_counter() < end and len(taken) < 200):
        taken.append(machine.microseconds(one_round) / len(inputs))
    return statistics.median(taken), note


def bytes_per_microsecond(machine):
    """The bandwidth of a copy, with the bytes read and those written."""
    size = machine.copy_bytes
    from_, to = (torch.ones(size, dtype=torch.uint8, device=machine.device) for _ in range(2))
    copy, _ = median(machine, lambda *_: to.copy_(from_), [None] * 4)
    return 2 * size / copy


class Ours:
    """The kernel over inputs, with a seed per row."""

    def __init__(self, library, machine, case, inputs):
        dtype = launch_api.DTYPES[str(inputs.rows[0].dtype).removeprefix("torch.")]
        fields = {name: getattr(case, name) for name, _ in launch_api.GpuCase._fields_[:-1]}
        gpu_case = launch_api.GpuCase(**fields, dtype=dtype)
        self.machine = machine
        self.plans = [
            launch_api.Plan(library, gpu_case, rows.data_ptr(), *rows.shape, seed=index << 32,
                            bitmasks=None if mask is None else mask.data_ptr())
            for index, (rows, mask) in enumerate(zip(inputs.rows, inputs.bitmasks, strict=True))
        ]  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for plan in self.plans:
            plan.close()

    def __call__(self, index, _):
        # A capture uses a stream of its own.
        self.plans[index].launch(self.machine.stream())

    def agrees(self):
        return all(plan.agrees() for plan in self.plans)


def row(*columns):
    print("| " + " | ".join(columns) + " |", flush=True)


def header(*columns):
    print()
    row(*columns)
    print("|---" * len(columns) + "|", flush=True)


@dataclasses.dataclass(frozen=True)
class Place:
    """The place of a figure in the tables."""

    case: object
    kind: object
    batch: int
    vocab: int

    def columns(self):
        return self.case.name, f"{self.batch} x {self.vocab}", self.kind.name


class Bench:
    def __init__(self, machine, library, seconds):
        self.machine = machine
        self.library = library
        self.end = BEGAN + seconds
        self.bandwidth = bytes_per_microsecond(machine)
        self.failed = False
        self.kernel_us = {}  # by place
        print(f"{machine.name}; a copy moves {self.bandwidth / 1e6:.2f} TB/s", flush=True)

    def in_time(self, what):
        if time.monotonic() < self.end:
            return True
        print(f"stopped before {what}: the time is up", flush=True)
        return False

    def inputs(self, kind, batch, vocab):
        self.machine.release()
        return cases.make_inputs(
            self.machine.device, kind, batch, vocab, self.machine.rotated_bytes
        )

    def case_at(self, place):
        return dataclasses.replace(place.case, temperature=place.kind.temperature)

    def ours(self, place, inputs, more=lambda ours: []):
        """Columns: the kernel's time, its target, their ratio, passes, and those that `more`
        adds."""
        with Ours(self.library, self.machine, self.case_at(place), inputs) as ours:
            kernel, note = median(self.machine, ours, inputs.rows)
            self.kernel_us[place] = kernel
            if not ours.agrees():
                self.failed = True
                where = ", ".join(place.columns())
                print(f"FAILED: {where}: the kernel and the sampler disagree", flush=True)
            columns = [f"{kernel:.1f}{note}"]
            has_target = place.vocab == self.machine.target_vocab
            wanted = cases.target_us(place.kind, place.case, place.batch) if has_target else None
            columns += [f"{wanted:g}", f"{wanted / kernel:.2f}"] if wanted else ["", ""]
            size = inputs.rows[0].numel() * inputs.rows[0].element_size()
            columns.append(f"{kernel * self.bandwidth / size:.2f}")
            return columns + more(ours)

    def end_to_end(self, ours):
        return [f"{ours.plans[0].end_to_end(self.machine.calls):.1f}"]

    def all_ways(self, inputs):
        host = inputs.rows[0].cpu()
        calls = min(self.machine.calls, 10 if len(host) > 8 else 100)

        def columns(ours):
            plan = ours.plans[0]
            from_host = [plan.from_host(host.data_ptr(), cpu, calls) for cpu in (False, True)]
            return self.end_to_end(ours) + [f"{time:.1f}" for time in from_host]

        return columns

    def peer(self, name, place, inputs):
        """The peer's time as a multiple of the kernel's; None if the peer does not support the
        case."""
        sample = peers.PEERS[name](self.case_at(place))
        if sample is None:
            return None
        loops = name in peers.LOOPS
        some = inputs.rows[:2] if loops else inputs.rows
        peer, note = median(self.machine, sample, some, can_be_captured=not loops)
        return peer, peer / self.kernel_us[place], note

    def measure_targets(self):
        """The kernel at the numbers of rows with targets, then with other kinds of rows."""
        header("case", "rows", "data", "kernel us", "target", "target : kernel", "passes",
               f"end to end us (filtered, 1 row: {cases.END_TO_END_TARGET_US})")  # fmt: skip
        vocab = self.machine.target_vocab
        for kind in [cases.FP32, cases.BF16, *cases.OTHER_KINDS]:
            for batch in self.machine.target_batches:
                if not self.in_time(f"{kind.name}, {batch} rows"):
                    return
                inputs = self.inputs(kind, batch, vocab)
                for case in cases.TARGET_CASES[kind.targets_of or kind.name]:
                    place = Place(case, kind, batch, vocab)
                    row(*place.columns(), *self.ours(place, inputs, self.end_to_end))

    def measure_peers(self, names):
        """One peer after the other, so that a peer that breaks the run costs no other its
        figures."""
        header("peer", "case", "rows", "data", "peer us", "peer : kernel", "at least")
        for name in names:
            try:
                if not self.measure_peer(name):
                    return
            except Exception as error:  # whatever a peer fails with
                print(f"skipped: the rest of {name}, for {error}", flush=True)

    def measure_peer(self, name):
        vocab = self.machine.target_vocab
        for kind in (cases.FP32, cases.BF16):
            for batch in self.machine.target_batches:
                if not self.in_time(f"{name}, {kind.name}, {batch} rows"):
                    return False
                inputs = self.inputs(kind, batch, vocab)
                for case in [*cases.TARGET_CASES[kind.name], cases.BOTH]:
                    place = Place(case, kind, batch, vocab)
                    if place not in self.kernel_us:
                        self.ours(place, inputs)
                    measured = self.peer(name, place, inputs)
                    if measured is None:
                        continue
                    peer, ratio, note = measured
                    wanted = (
                        case == cases.FILTERED
                        and kind == cases.FP32
                        and batch in cases.PEER_TARGET_ROWS
                    )
                    least = cases.PEER_TARGETS.get(name) if wanted else None
                    row(name, *place.columns(), f"{peer:.1f}{note}", f"{ratio:.1f}",
                        f"{least}" if least else "")  # fmt: skip
        return True

    def measure_more(self, names):
        """Every case, vocabulary and number of rows, with calls from the host and all peers."""
        header("case", "rows", "data", "kernel us", "target", "target : kernel", "passes",
               "end to end us", "from host us", "on the CPU us",
               *[f"{name} : kernel" for name in names])  # fmt: skip
        for vocab in self.machine.vocabs:
            for batch in self.machine.batches:
                for kind in (cases.FP32, cases.BF16, cases.REAL):
                    inputs = self.inputs(kind, batch, vocab)
                    for case in cases.EVERY_CASE:
                        place = Place(case, kind, batch, vocab)
                        if not self.in_time(", ".join(place.columns())):
                            return
                        columns = self.ours(place, inputs, self.all_ways(inputs))
                        row(*place.columns(), *columns, *self.ratios(names, place, inputs))

    def ratios(self, names, place, inputs):
        for name in list(names):
            try:
                measured = self.peer(name, place, inputs)
                yield "" if measured is None else f"{measured[1]:.1f}{measured[2]}"
            except Exception as error:  # whatever a peer fails with
                yield f"failed: {error}".splitlines()[0]


def launch(machine, library):
    """The launches that ncu profiles, and no other launch of the kernel."""
    for case, kind, batch in LAUNCHES:
        if machine.target_vocab != cases.TARGET_VOCAB:
            batch = 1
        inputs = cases.make_inputs(machine.device, kind, batch, machine.target_vocab, 0)
        print(f"launch: {case.name}, {batch} x {machine.target_vocab}, {kind.name}", flush=True)
        with Ours(library, machine, case, inputs) as ours:
            ours(0, None)
            if machine.device == "cuda":
                torch.cuda.synchronize()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--more", action="store_true", help="every cell, not those of the targets")
    what.add_argument("--launches", action="store_true", help="four launches for a profiler")
    parser.add_argument("--seconds", type=float, default=1e9,
                        help="from the start, after which no cell begins")  # fmt: skip
    parser.add_argument("--emulated", action="store_true", help="without a GPU")
    parser.add_argument("library", help="libtoken_sampler_gpu_bench.so")
    options = parser.parse_args()
    if not options.emulated and not torch.cuda.is_available():
        print("skipped: torch finds no GPU")
        return SKIPPED
    machine = Emulated() if options.emulated else OnGpu()
    library = launch_api.load(options.library)
    if options.launches:
        launch(machine, library)
        return 0
    bench = Bench(machine, library, options.seconds)
    peers.print_versions()
    if options.more:
        bench.measure_more(peers.present_peers(cases.BOTH))
    else:
        bench.measure_targets()
        bench.measure_peers(peers.present_peers(cases.BOTH))
    return 1 if bench.failed else 0


if __name__ == "__main__":
    sys.exit(main())

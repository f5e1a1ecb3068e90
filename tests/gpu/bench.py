#!/usr/bin/env python3
"""Prints what the CUDA sampler's kernel costs, against one read of the logits and against its peers.
Usage: see tests/gpu/run.sh

Every cell is measured in this run: medians of CUDA events around launches that go through inputs
four times larger than the L2 cache. A "pass" is what reading the logits once takes at the bandwidth
of a copy. Of few rows the launches are replayed from a CUDA graph, ours and those of the peers that
can be captured, so that what Python takes to launch does not hide what the device takes; the others
have a *. "From host" is a call whose rows are in the host's memory, beside it the CPU sampler's.
"""

import argparse
import contextlib
import ctypes
import dataclasses
import statistics
import time

import torch

BATCHES = [1, 8, 32, 64, 128, 256, 512, 1024]
VOCABS = [32_000, 128_256, 151_936, 262_144]
ROTATED_CACHES = 4  # inputs to go through, in sizes of the L2 cache
LEAST_ROTATED_BYTES = 256 << 20
GRAPH_ROWS = 8  # most that are replayed from a graph


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition: float = 1.0
    frequency: float = 0.0
    presence: float = 0.0


CASES = [
    Case("plain"),
    Case("top-k 50", top_k=50),
    Case("top-p 0.9", top_p=0.9),
    Case("top-k 50, top-p 0.9", top_k=50, top_p=0.9),
    Case("top-k 50, top-p 0.9, min-p 0.05", top_k=50, top_p=0.9, min_p=0.05),
    Case(
        "that, with penalties",
        top_k=50,
        top_p=0.9,
        min_p=0.05,
        repetition=1.1,
        frequency=0.1,
        presence=0.1,
    ),
]
# What the sampler has to show on an H200 at 128,256 float32 logits, filtered by all and with a seed
# per row: microseconds of the kernel by rows, and the rest.
TARGET_CASE = "top-k 50, top-p 0.9, min-p 0.05"
TARGET_VOCAB = 128_256
TARGET_KERNEL_US = {1: 12, 64: 25, 128: 50, 512: 130}
TARGET_PASSES, TARGET_PASSES_FROM = 2.5, 128
TARGET_PEERS = {"FlashInfer": 4, "torch": 20}
TARGET_PEER_ROWS = (64, 128)
TARGET_END_TO_END_US = 20  # of one row

HISTORY = [token * 37 % 13_795 for token in range(256)]  # for penalties; that of launch_api.cc


class GpuCase(ctypes.Structure):
    _fields_ = [
        ("temperature", ctypes.c_double),
        ("top_p", ctypes.c_double),
        ("min_p", ctypes.c_double),
        ("repetition", ctypes.c_double),
        ("frequency", ctypes.c_double),
        ("presence", ctypes.c_double),
        ("top_k", ctypes.c_uint32),
        ("is_bfloat16", ctypes.c_uint32),
    ]


class OnGpu:
    """Time by CUDA events."""

    device = "cuda"
    most_calls = 100

    def __init__(self):
        torch.cuda.set_stream(torch.cuda.Stream())

    def name(self):
        return torch.cuda.get_device_name()

    def rotated_bytes(self):
        cache = torch.cuda.get_device_properties(0).L2_cache_size
        return max(LEAST_ROTATED_BYTES, ROTATED_CACHES * cache)

    def captured(self, work):
        """A function that replays the work from a graph, or None when it cannot be captured."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                work()
        except RuntimeError:
            torch.cuda.synchronize()
            return None
        return graph.replay

    def stream(self):
        return ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)

    def microseconds(self, work):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) * 1e3


class Emulated:
    """Time by the host's clock, with the kernel on the host: to test this program."""

    device = "cpu"
    most_calls = 2

    def name(self):
        return "emulated"

    def rotated_bytes(self):
        return 0

    def captured(self, _):
        return None

    def stream(self):
        return None

    def microseconds(self, work):
        began = time.perf_counter()
        work()
        return (time.perf_counter() - began) * 1e6


class TokenSampler:
    """The kernel, with a seed per row."""

    def __init__(self, library, machine, case, inputs):
        self.library = library
        self.machine = machine
        fields = {name: getattr(case, name) for name, _ in GpuCase._fields_[:-1]}
        self.plans = []
        for index, rows in enumerate(inputs):
            gpu_case = GpuCase(**fields, is_bfloat16=rows.dtype == torch.bfloat16)
            plan = library.TokenSamplerGpuPlan(
                ctypes.byref(gpu_case),
                ctypes.c_void_p(rows.data_ptr()),
                *map(ctypes.c_int64, rows.shape),
                ctypes.c_uint64(index << 32),
            )
            if not plan:
                raise SystemExit("a plan failed")
            self.plans.append(ctypes.c_void_p(plan))

    def __call__(self, index, _):
        # A capture has a stream of its own.
        if not self.library.TokenSamplerGpuLaunch(self.plans[index], self.machine.stream()):
            raise SystemExit("a launch failed")

    def check(self):
        for plan in self.plans:
            if not self.library.TokenSamplerGpuAgree(plan):
                raise SystemExit("the kernel and the sampler disagree")

    def end_to_end(self, calls):
        return self.library.TokenSamplerGpuEndToEnd(self.plans[0], calls)

    def from_host(self, rows, on_cpu, calls):
        return self.library.TokenSamplerGpuFromHost(
            self.plans[0], ctypes.c_void_p(rows.data_ptr()), on_cpu, calls
        )

    def close(self):
        for plan in self.plans:
            self.library.TokenSamplerGpuFree(plan)


def load(path):
    library = ctypes.CDLL(path)
    library.TokenSamplerGpuPlan.restype = ctypes.c_void_p
    library.TokenSamplerGpuLaunch.restype = ctypes.c_bool
    library.TokenSamplerGpuAgree.restype = ctypes.c_bool
    library.TokenSamplerGpuEndToEnd.restype = ctypes.c_double
    library.TokenSamplerGpuFromHost.restype = ctypes.c_double
    return library


def adjusted(case, rows):
    """Logits in float32, penalised and divided by the temperature."""
    values = rows.float()
    if case.repetition != 1.0:
        if values.data_ptr() == rows.data_ptr():
            values = values.clone()
        history = torch.tensor(HISTORY, device=rows.device) % rows.shape[1]
        seen, counts = history.unique(return_counts=True)
        some = values[:, seen]
        some = torch.where(some > 0, some / case.repetition, some * case.repetition)
        values[:, seen] = some - (case.frequency * counts + case.presence)
    return values / case.temperature


def torch_probabilities(case, rows):
    """Probabilities [rows, k], and their token ids where k is not the vocabulary."""
    values, ids = adjusted(case, rows), None
    if case.top_k:
        values, ids = torch.topk(values, case.top_k)
    elif case.top_p < 1:
        values, ids = torch.sort(values, descending=True)
    probabilities = torch.softmax(values, dim=-1)
    if case.min_p:
        least = probabilities.amax(dim=-1, keepdim=True) * case.min_p
        probabilities = torch.where(probabilities < least, 0.0, probabilities)
    if case.top_p < 1:
        mass = probabilities.cumsum(dim=-1)
        cut = mass - probabilities >= case.top_p * mass[:, -1:]
        probabilities = torch.where(cut, 0.0, probabilities)
    return probabilities, ids


def picked(ids, drawn):
    return drawn if ids is None else ids.gather(1, drawn)


def torch_pipeline(case):
    """softmax, topk or sort, and multinomial, with one generator."""

    def sample(_, rows):
        probabilities, ids = torch_probabilities(case, rows)
        return picked(ids, torch.multinomial(probabilities, 1))

    return sample


def torch_seeded(case):
    """The same with a generator per row, as engines do for requests with seeds."""
    generators = []

    def sample(_, rows):
        while len(generators) < len(rows):
            generators.append(torch.Generator(rows.device).manual_seed(len(generators)))
        probabilities, ids = torch_probabilities(case, rows)
        noise = torch.empty_like(probabilities)
        for row, generator in zip(noise, generators):
            row.exponential_(generator=generator)
        return picked(ids, (probabilities / noise).argmax(dim=-1, keepdim=True))

    return sample


def sorted_like_vllm(case):
    """One sort of the whole row serves top-k and top-p; exponential noise draws."""

    def sample(_, rows):
        values = adjusted(case, rows)
        if case.top_k or case.top_p < 1:
            ordered, ids = values.sort(dim=-1)
            if case.top_k:
                ordered = ordered.masked_fill(ordered < ordered[:, -case.top_k, None], -torch.inf)
            if case.top_p < 1:
                cut = ordered.softmax(dim=-1).cumsum(dim=-1) <= 1 - case.top_p
                cut[:, -1] = False
                ordered = ordered.masked_fill(cut, -torch.inf)
            values = torch.empty_like(ordered).scatter_(-1, ids, ordered)
        probabilities = values.softmax(dim=-1)
        if case.min_p:
            least = probabilities.amax(dim=-1, keepdim=True) * case.min_p
            probabilities = torch.where(probabilities < least, 0.0, probabilities)
        return (probabilities / torch.empty_like(probabilities).exponential_()).argmax(dim=-1)

    return sample


def flashinfer(case):
    import flashinfer.sampling as fi

    def sample(_, rows):
        values = adjusted(case, rows)
        if case.top_k and case.top_p < 1 and not case.min_p:
            return fi.top_k_top_p_sampling_from_logits(values, case.top_k, case.top_p)
        probabilities = values.softmax(dim=-1)
        if case.min_p:
            probabilities = fi.top_k_renorm_probs(probabilities, case.top_k)
            probabilities = fi.top_p_renorm_probs(probabilities, case.top_p)
            return fi.min_p_sampling_from_probs(probabilities, case.min_p)
        if case.top_k:
            return fi.top_k_sampling_from_probs(probabilities, case.top_k)
        if case.top_p < 1:
            return fi.top_p_sampling_from_probs(probabilities, case.top_p)
        return fi.sampling_from_probs(probabilities)

    return sample


PEERS = {
    "torch": torch_pipeline,
    "torch, seeded": torch_seeded,
    "vLLM-style sort": sorted_like_vllm,
    "FlashInfer": flashinfer,
}


def present_peers():
    names = []
    for name, make in PEERS.items():
        with contextlib.suppress(ImportError):
            make(CASES[0])
            names.append(name)
    return names


def median(machine, sample, inputs, budget):
    """Microseconds per call, of rounds through all inputs until `budget` seconds are spent, and
    whether they were replayed from a graph."""

    def work():
        for index, rows in enumerate(inputs):
            sample(index, rows)

    work()
    few = inputs[0] is not None and len(inputs[0]) <= GRAPH_ROWS
    replay = machine.captured(work) if few else None
    taken = []
    end = time.perf_counter() + budget
    while len(taken) < 3 or (time.perf_counter() < end and len(taken) < 200):
        taken.append(machine.microseconds(replay or work) / len(inputs))
    return statistics.median(taken), replay is not None or not few


def bytes_per_microsecond(machine, size):
    """Of a copy, bytes read and written."""
    from_, to = (torch.ones(size, dtype=torch.uint8, device=machine.device) for _ in range(2))
    copy, _ = median(machine, lambda *_: to.copy_(from_), [None] * 4, 0.5)
    return 2 * size / copy


def make_inputs(machine, batch, vocab, dtype):
    """Tensors [batch, vocab] of one allocation."""
    size = batch * vocab * dtype.itemsize
    count = max(2, -(-machine.rotated_bytes() // size))
    generator = torch.Generator(machine.device).manual_seed(1)
    every = torch.empty(count, batch, vocab, dtype=dtype, device=machine.device)
    for rows in every:
        rows.copy_(torch.randn(batch, vocab, generator=generator, device=machine.device) * 3)
    return list(every)


@dataclasses.dataclass
class Cell:
    """What was measured of a case; peers as multiples of the kernel's time."""

    case: str
    batch: int
    vocab: int
    dtype: torch.dtype
    kernel_us: float
    passes: float
    end_to_end_us: float
    peers: dict


def measure(library, machine, names, case, inputs, bandwidth, budget):
    """A cell, printed."""
    rows = inputs[0]
    ours = TokenSampler(library, machine, case, inputs)
    kernel, steady = median(machine, ours, inputs, budget)
    ours.check()
    host = rows.cpu()
    calls = min(machine.most_calls, 10 if len(rows) > GRAPH_ROWS else 100)
    cell = Cell(
        case.name, *rows.shape, rows.dtype, kernel,
        kernel * bandwidth / (rows.numel() * rows.element_size()), ours.end_to_end(machine.most_calls), {},
    )  # fmt: skip
    columns = [case.name, f"{cell.batch} x {cell.vocab}"]
    columns += ["BF16" if rows.dtype == torch.bfloat16 else "FP32"]
    columns += [f"{kernel:.1f}{'' if steady else '*'}", f"{cell.passes:.2f}"]
    columns += [f"{cell.end_to_end_us:.1f}"]
    columns += [f"{ours.from_host(host, on_cpu, calls):.1f}" for on_cpu in (False, True)]
    ours.close()
    for name in names:
        # Its loop over the rows takes long.
        some = inputs[:2] if name == "torch, seeded" else inputs
        peer, steady = median(machine, PEERS[name](case), some, budget)
        cell.peers[name] = peer / kernel
        columns.append(f"{cell.peers[name]:.1f}{'' if steady else '*'}")
    print("| " + " | ".join(columns) + " |", flush=True)
    return cell


def print_header(columns):
    print("\n| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")


def print_targets(cells):
    """Each target beside what was measured, as a ratio that is 1 or more where the target is met."""
    print_header(["target", "at", "wanted", "measured", "ratio"])

    def line(what, rows, wanted, measured, ratio):
        print(f"| {what} | {rows} rows | {wanted} | {measured:.1f} | {ratio:.2f} |")

    for cell in cells:
        if (cell.case, cell.vocab, cell.dtype) != (TARGET_CASE, TARGET_VOCAB, torch.float32):
            continue
        rows = cell.batch
        if rows in TARGET_KERNEL_US:
            most = TARGET_KERNEL_US[rows]
            line("kernel us", rows, f"at most {most}", cell.kernel_us, most / cell.kernel_us)
        if rows >= TARGET_PASSES_FROM:
            line("passes", rows, f"at most {TARGET_PASSES}", cell.passes,
                 TARGET_PASSES / cell.passes)  # fmt: skip
        if rows == 1:
            line("end to end us", rows, f"below {TARGET_END_TO_END_US}", cell.end_to_end_us,
                 TARGET_END_TO_END_US / cell.end_to_end_us)  # fmt: skip
        for name, least in TARGET_PEERS.items():
            if rows in TARGET_PEER_ROWS and name in cell.peers:
                line(f"{name} : kernel", rows, f"at least {least}", cell.peers[name],
                     cell.peers[name] / least)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--vocab", type=int, nargs="+", default=VOCABS)
    parser.add_argument("--seconds", type=float, default=0.05, help="per figure (default: 0.05)")
    parser.add_argument("--emulated", action="store_true", help="without a GPU; times mean nothing")
    parser.add_argument("library", help="libtoken_sampler_gpu_bench.so")
    options = parser.parse_args()
    machine = Emulated() if options.emulated else OnGpu()
    library = load(options.library)
    bandwidth = bytes_per_microsecond(machine, 64 << 20 if options.emulated else 2 << 30)
    print(f"{machine.name()}, a copy moves {bandwidth / 1e6:.2f} TB/s, torch {torch.__version__}")
    names = present_peers()
    for name in PEERS:
        if name not in names:
            print(f"skipped: {name}")
    columns = ["case", "rows", "type", "kernel us", "passes", "end to end us"]
    columns += ["from host us", "on the CPU us"]
    print_header(columns + [f"{name} : kernel" for name in names])
    cells = []
    for vocab in options.vocab:
        for batch in options.batch:
            for dtype in (torch.float32, torch.bfloat16):
                inputs = make_inputs(machine, batch, vocab, dtype)
                for case in CASES:
                    cells.append(
                        measure(library, machine, names, case, inputs, bandwidth, options.seconds)
                    )
    print_targets(cells)


if __name__ == "__main__":
    main()

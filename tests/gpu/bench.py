#!/usr/bin/env python3
"""Prints what the CUDA sampler's kernel costs, against one read of the logits and against its peers.
Usage: see tests/gpu/run.sh

Every cell is measured in this run: medians of CUDA events around launches that go through inputs
larger than the cache. A "pass" is what reading the logits once takes at the bandwidth of a copy.
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
ROTATED_BYTES = 256 << 20  # several times the L2 cache


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

    def __init__(self):
        torch.cuda.set_stream(torch.cuda.Stream())

    def name(self):
        return torch.cuda.get_device_name()

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

    def name(self):
        return "emulated"

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
        self.stream = machine.stream()
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
        if not self.library.TokenSamplerGpuLaunch(self.plans[index], self.stream):
            raise SystemExit("a launch failed")

    def check(self):
        for plan in self.plans:
            if not self.library.TokenSamplerGpuAgree(plan):
                raise SystemExit("the kernel and the sampler disagree")

    def end_to_end(self, calls):
        return self.library.TokenSamplerGpuEndToEnd(self.plans[0], calls)

    def close(self):
        for plan in self.plans:
            self.library.TokenSamplerGpuFree(plan)


def load(path):
    library = ctypes.CDLL(path)
    library.TokenSamplerGpuPlan.restype = ctypes.c_void_p
    library.TokenSamplerGpuLaunch.restype = ctypes.c_bool
    library.TokenSamplerGpuAgree.restype = ctypes.c_bool
    library.TokenSamplerGpuEndToEnd.restype = ctypes.c_double
    return library


def adjusted(case, rows):
    """Logits in float32, penalised and divided by the temperature."""
    values = rows.float()
    if case.repetition != 1.0:
        if values.data_ptr() == rows.data_ptr():
            values = values.clone()
        seen, counts = torch.tensor(HISTORY, device=rows.device).unique(return_counts=True)
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
    """Microseconds per call, of rounds through all inputs until `budget` seconds are spent."""

    def work():
        for index, rows in enumerate(inputs):
            sample(index, rows)

    work()
    taken = []
    end = time.perf_counter() + budget
    while len(taken) < 3 or (time.perf_counter() < end and len(taken) < 200):
        taken.append(machine.microseconds(work) / len(inputs))
    return statistics.median(taken)


def bytes_per_microsecond(machine, size):
    """Of a copy, bytes read and written."""
    from_, to = (torch.ones(size, dtype=torch.uint8, device=machine.device) for _ in range(2))
    copy = median(machine, lambda *_: to.copy_(from_), [None] * 4, 0.5)
    return 2 * size / copy


def make_inputs(machine, batch, vocab, dtype, most_bytes):
    count = max(2, min(64, -(-most_bytes // (batch * vocab * 4))))
    generator = torch.Generator(machine.device).manual_seed(1)
    return [
        (torch.randn(batch, vocab, generator=generator, device=machine.device) * 3).to(dtype)
        for _ in range(count)
    ]


def print_cell(library, machine, names, case, inputs, bandwidth, budget):
    rows = inputs[0]
    ours = TokenSampler(library, machine, case, inputs)
    kernel = median(machine, ours, inputs, budget)
    ours.check()
    passes = kernel * bandwidth / (rows.numel() * rows.element_size())
    cells = [case.name, f"{rows.shape[0]} x {rows.shape[1]}"]
    cells += ["BF16" if rows.dtype == torch.bfloat16 else "FP32"]
    cells += [f"{kernel:.1f}", f"{passes:.2f}", f"{ours.end_to_end(100):.1f}"]
    ours.close()
    for name in names:
        # Its loop over the rows takes long.
        some = inputs[:2] if name == "torch, seeded" else inputs
        cells.append(f"{median(machine, PEERS[name](case), some, budget) / kernel:.1f}")
    print("| " + " | ".join(cells) + " |", flush=True)


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
    columns += [f"{name} : kernel" for name in names]
    print("\n| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for vocab in options.vocab:
        for batch in options.batch:
            for dtype in (torch.float32, torch.bfloat16):
                most = 0 if options.emulated else ROTATED_BYTES
                inputs = make_inputs(machine, batch, vocab, dtype, most)
                for case in CASES:
                    print_cell(library, machine, names, case, inputs, bandwidth, options.seconds)


if __name__ == "__main__":
    main()

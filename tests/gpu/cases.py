"""The cases of the benchmark, the kinds of rows, and the target times."""

import dataclasses
import functools
import pathlib
import typing

import numpy
import torch

REAL_ROWS = pathlib.Path(__file__).resolve().parent.parent / "data/kjv_trigram_logits_f16.npy"


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


PLAIN = Case("plain")
TOP_K = Case("top-k 50", top_k=50)
TOP_P = Case("top-p 0.9", top_p=0.9)
BOTH = Case("top-k 50, top-p 0.9", top_k=50, top_p=0.9)
FILTERED = Case("top-k 50, top-p 0.9, min-p 0.05", top_k=50, top_p=0.9, min_p=0.05)
PENALISED = dataclasses.replace(
    FILTERED, name="that, with penalties", repetition=1.1, frequency=0.1, presence=0.1
)
EVERY_CASE = [PLAIN, TOP_K, TOP_P, BOTH, FILTERED, PENALISED]


def normal(scale):
    def values(generator, batch, vocab):
        return scale * torch.randn(batch, vocab, generator=generator, device=generator.device)

    return values


def bfloat16_values(generator, batch, vocab):
    return normal(3)(generator, batch, vocab).bfloat16().float()


@functools.cache
def real_rows(device):
    return torch.from_numpy(numpy.load(REAL_ROWS)).to(device).float()


def real(generator, batch, vocab):
    """Rows of a language model, repeated to the length and shuffled."""
    model = real_rows(generator.device)
    made = torch.empty(batch, vocab, device=generator.device)
    which = torch.randint(len(model), (batch,), generator=generator, device=generator.device)
    for row, source in zip(made, which, strict=True):
        places = torch.randperm(vocab, generator=generator, device=generator.device)
        row.copy_(model[source][places % model.shape[1]])
    return made


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of rows: the type and content of their values."""

    name: str
    dtype: torch.dtype
    values: typing.Callable
    temperature: float = 1.0
    masked: bool = False  # half of the tokens, by a bitmask
    targets_of: str = ""  # the kind whose targets, times ANY_DATA, apply to this one


FP32 = Kind("FP32", torch.float32, normal(3))
BF16 = Kind("BF16", torch.bfloat16, normal(3))
REAL = Kind("FP32, real, T 0.7", torch.float32, real, 0.7, targets_of="FP32")
OTHER_KINDS = [
    REAL,
    Kind("FP32, normal x 6, T 0.7", torch.float32, normal(6), 0.7, targets_of="FP32"),
    Kind("FP32, BF16 values", torch.float32, bfloat16_values, targets_of="FP32"),
    Kind("FP32, bitmask", torch.float32, normal(3), masked=True, targets_of="FP32"),
    Kind("FP16", torch.float16, normal(3), targets_of="BF16"),
]

# Microseconds of the kernel on an H200 at 128,256 tokens, by kind, case and number of rows.
TARGETS = {
    ("FP32", FILTERED.name): {1: 8, 8: 9, 64: 14, 128: 24, 512: 80},
    ("FP32", PLAIN.name): {1: 9, 8: 10, 64: 18, 128: 32, 512: 105},
    ("FP32", TOP_P.name): {1: 11, 8: 12, 64: 22, 128: 40, 512: 130},
    ("BF16", FILTERED.name): {1: 7, 8: 8, 64: 11, 128: 16, 512: 50},
}
ANY_DATA = 1.5
TARGET_VOCAB = 128_256
TARGET_BATCHES = [1, 8, 64, 128, 512]
TARGET_CASES = {"FP32": [FILTERED, PLAIN, TOP_P], "BF16": [FILTERED]}
END_TO_END_TARGET_US = 20  # of one row, filtered
# The least time of a peer as a multiple of the kernel's, for the filtered case, by number of rows.
PEER_TARGETS = {"FlashInfer": 4, "torch": 20}
PEER_TARGET_ROWS = (64, 128)


def target_us(kind, case, batch):
    """The target; None if there is none."""
    wanted = TARGETS.get((kind.targets_of or kind.name, case.name), {}).get(batch)
    return wanted and wanted * (ANY_DATA if kind.targets_of else 1)


@dataclasses.dataclass
class Inputs:
    """Tensors [batch, vocab] of one allocation on the device, and bitmasks on the host."""

    rows: list
    bitmasks: list  # as many, or of None


def make_inputs(device, kind, batch, vocab, least_bytes):
    """Two or more inputs, with at least so many bytes together."""
    size = batch * vocab * kind.dtype.itemsize
    count = max(2, -(-least_bytes // size))
    generator = torch.Generator(device).manual_seed(1)
    every = torch.empty(count, batch, vocab, dtype=kind.dtype, device=device)
    for rows in every:
        rows.copy_(kind.values(generator, batch, vocab))
    masks = [None] * count
    if kind.masked:
        words = torch.Generator().manual_seed(1)
        shape = (count, batch, -(-vocab // 32) * 4)
        masks = list(torch.randint(256, shape, dtype=torch.uint8, generator=words))
    return Inputs(list(every), masks)

"""The samplers that the kernel is compared with. Each takes a case and returns a function from an
index and rows [count, vocab] to `count` token ids, or None if it does not support the case. A peer
that is not installed raises ImportError."""

import contextlib
import functools
import hashlib
import importlib
import pathlib
import sys
import types

import torch

HISTORY = [token * 37 % 13_795 for token in range(256)]  # for penalties; that of launch_api.cc


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
    return values if case.temperature == 1.0 else values / case.temperature


def torch_probabilities(case, rows):
    """Probabilities [rows, k], and their token ids if k is less than the vocabulary."""
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


def drawn_by_noise(case, values):
    """Draws as vLLM does from the tokens that its filters leave."""
    probabilities = values.softmax(dim=-1)
    if case.min_p:
        least = probabilities.amax(dim=-1, keepdim=True) * case.min_p
        probabilities = torch.where(probabilities < least, 0.0, probabilities)
    return (probabilities / torch.empty_like(probabilities).exponential_()).argmax(dim=-1)


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
        return drawn_by_noise(case, values)

    return sample


@functools.cache
def per_row(count, value, dtype, device):
    """The tensor of a parameter. An engine has it ready, so its time does not count."""
    return torch.full((count,), value, dtype=dtype, device=device)


def vllm_stand_ins():
    """Modules in place of those that vLLM's file of the kernel imports from the rest of vLLM."""
    import triton

    def num_compute_units(device=0):
        return torch.cuda.get_device_properties(device or 0).multi_processor_count

    names = {
        "vllm": {},
        "vllm.triton_utils": {"triton": triton, "tl": importlib.import_module("triton.language")},
        "vllm.utils": {},
        "vllm.utils.gpu_sync_debug": {"gpu_sync_allowed": contextlib.nullcontext},
        "vllm.utils.math_utils": {"next_power_of_2": triton.next_power_of_2},
        "vllm.utils.platform_utils": {"num_compute_units": num_compute_units},
    }
    modules = {}
    for name, values in names.items():
        modules[name] = types.ModuleType(name)
        vars(modules[name]).update(values)
    return modules


@functools.cache
def vllm_kernel():
    """The function of an installed vLLM, or of that one file, and which of them it is."""
    with contextlib.suppress(ImportError):
        module = importlib.import_module("vllm.v1.sample.ops.topk_topp_triton")
        version = importlib.import_module("vllm").__version__
        return module.apply_top_k_top_p_triton, f"vLLM {version}"
    stand_ins = vllm_stand_ins()
    before = {name: sys.modules.get(name) for name in stand_ins}
    sys.modules.update(stand_ins)
    try:
        module = importlib.import_module("topk_topp_triton")
    finally:
        for name, value in before.items():
            if value is None:
                del sys.modules[name]
            else:
                sys.modules[name] = value
    digest = hashlib.sha256(pathlib.Path(module.__file__).read_bytes()).hexdigest()
    return module.apply_top_k_top_p_triton, f"topk_topp_triton.py of SHA-256 {digest[:12]}"


def vllm_triton(case):
    """vLLM's kernel for top-k and top-p, on a copy of the rows because it writes into them. vLLM
    uses it from 8 rows on."""
    apply, _ = vllm_kernel()

    def sample(_, rows):
        values = adjusted(case, rows)
        if not case.top_k and case.top_p == 1.0:
            return drawn_by_noise(case, values)
        if values.data_ptr() == rows.data_ptr():
            values = values.clone()
        top_k = per_row(len(rows), case.top_k, torch.int32, rows.device) if case.top_k else None
        top_p = None
        if case.top_p < 1:
            top_p = per_row(len(rows), case.top_p, torch.float32, rows.device)
        return drawn_by_noise(case, apply(values, top_k, top_p))

    return sample


def parameters(case, rows, by_row):
    """top_k, top_p and min_p, as numbers or as tensors with one per row."""
    values = (case.top_k, torch.int32), (case.top_p, torch.float32), (case.min_p, torch.float32)
    if not by_row:
        return tuple(value for value, _ in values)
    return tuple(per_row(len(rows), value, dtype, rows.device) for value, dtype in values)


def flashinfer(case, by_row=False):
    """FlashInfer as its documentation uses it, or as SGLang does if there is min-p. It gets seeds,
    because its generator cannot be read during the capture of a graph."""
    import flashinfer.sampling as fi

    def sample(index, rows):
        values = adjusted(case, rows)
        top_k, top_p, min_p = parameters(case, rows, by_row)
        random = {"seed": index, "offset": 0}
        if case.top_k and case.top_p < 1 and not case.min_p:
            return fi.top_k_top_p_sampling_from_logits(values, top_k, top_p, **random)
        if not case.top_k and case.top_p == 1.0 and not case.min_p:
            return fi.sampling_from_logits(values, **random)
        probabilities = fi.softmax(values)
        if case.min_p:
            probabilities = fi.top_k_renorm_probs(probabilities, top_k)
            probabilities = fi.top_p_renorm_probs(probabilities, top_p)
            return fi.min_p_sampling_from_probs(probabilities, min_p, **random)
        if case.top_k:
            return fi.top_k_sampling_from_probs(probabilities, top_k, **random)
        return fi.top_p_sampling_from_probs(probabilities, top_p, **random)

    return sample


def flashinfer_cake(case, by_row=False):
    """FlashInfer's fused kernel for top-k and top-p, with the softmax that it needs. It has no
    min-p."""
    import flashinfer.sampling as fi
    from flashinfer.cake_sampling import top_k_top_p_sampling_from_probs

    if not case.top_k or case.min_p:
        return None

    def sample(index, rows):
        top_k, top_p, _ = parameters(case, rows, by_row)
        return top_k_top_p_sampling_from_probs(
            fi.softmax(adjusted(case, rows)), top_k, top_p, top_k_max=case.top_k,
            philox_seed=index, philox_offset=0,
        )  # fmt: skip

    return sample


# Peers that compile code on their first call come last.
PEERS = {
    "torch": torch_pipeline,
    "torch, seeded": torch_seeded,
    "vLLM-style sort": sorted_like_vllm,
    "vLLM's Triton kernel": vllm_triton,
    "FlashInfer": flashinfer,
    "FlashInfer, per row": functools.partial(flashinfer, by_row=True),
    "FlashInfer cake": flashinfer_cake,
    "FlashInfer cake, per row": functools.partial(flashinfer_cake, by_row=True),
}
# Peers that loop over the rows, and whose generators a graph cannot capture.
LOOPS = {"torch, seeded"}


def print_versions():
    print(f"torch {torch.__version__}")
    for name in ("triton", "flashinfer"):
        with contextlib.suppress(ImportError):
            print(f"{name} {importlib.import_module(name).__version__}")
    with contextlib.suppress(ImportError):
        print(vllm_kernel()[1])


def present_peers(case):
    """The names of the installed peers. Prints which are missing."""
    names = []
    for name, make in PEERS.items():
        try:
            make(case)
        except Exception as error:  # whatever the import of a package fails with
            print(f"skipped: {name}, for {error}", flush=True)
        else:
            names.append(name)
    return names

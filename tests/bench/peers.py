"""The samplers that the CPU sampler is compared with. Each takes a case and returns a function from
rows [count, vocab] to `count` token ids. A peer that is not installed raises ImportError."""

import ctypes
import dataclasses


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

    @property
    def penalties(self):
        return self.repetition != 1.0


def numpy_sampler(case, history):
    """Whole batches, with numpy's own selection and sorting."""
    import numpy as np

    generator = np.random.default_rng(0)
    seen, counts = np.unique(history, return_counts=True)

    def draw(values, ids):
        weights = np.exp(values - values.max(axis=-1, keepdims=True))
        if case.min_p > 0:
            weights[weights < case.min_p] = 0
        if case.top_p < 1:
            order = np.argsort(-weights, axis=-1)
            ordered = np.take_along_axis(weights, order, axis=-1)
            mass = ordered.cumsum(axis=-1)
            ordered[mass - ordered >= case.top_p * mass[:, -1:]] = 0
            weights = ordered
            ids = order if ids is None else np.take_along_axis(ids, order, axis=-1)
        mass = weights.cumsum(axis=-1)
        target = generator.random((len(mass), 1)) * mass[:, -1:]
        drawn = (mass <= target).sum(axis=-1, keepdims=True)
        return drawn if ids is None else np.take_along_axis(ids, drawn, axis=-1)

    def sample(rows):
        values = rows
        if case.penalties:
            values = values.copy()
            some = values[:, seen]
            some = np.where(some > 0, some / case.repetition, some * case.repetition)
            values[:, seen] = some - (case.frequency * counts + case.presence).astype(np.float32)
        if case.temperature != 1.0:
            values = values / np.float32(case.temperature)
        ids = None
        if case.top_k > 0:
            ids = np.argpartition(values, -case.top_k, axis=-1)[:, -case.top_k :]
            values = np.take_along_axis(values, ids, axis=-1)
        return draw(values, ids)

    return sample


def torch_sampler(case, history):
    """Whole batches, with torch.topk, sort and multinomial, as inference engines write it."""
    import numpy as np
    import torch

    torch.set_num_threads(1)
    seen, counts = (torch.from_numpy(a) for a in np.unique(history, return_counts=True))
    seen = seen.long()

    def sample(rows):
        values = torch.from_numpy(rows)
        if case.penalties:
            values = values.clone()
            some = values[:, seen]
            some = torch.where(some > 0, some / case.repetition, some * case.repetition)
            values[:, seen] = some - (case.frequency * counts + case.presence).float()
        if case.temperature != 1.0:
            values = values / case.temperature
        ids = None
        if case.top_k > 0:
            values, ids = values.topk(case.top_k, dim=-1)
        elif case.top_p < 1:
            values, ids = values.sort(dim=-1, descending=True)
        weights = values.softmax(dim=-1)
        if case.min_p > 0:
            weights[weights < case.min_p * weights.amax(dim=-1, keepdim=True)] = 0
        if case.top_p < 1:
            mass = weights.cumsum(dim=-1)
            weights[mass - weights >= case.top_p * mass[:, -1:]] = 0
        drawn = torch.multinomial(weights, 1)
        return drawn if ids is None else ids.gather(-1, drawn)

    return sample


def transformers_sampler(case, history):
    """Whole batches, with the logits warpers of transformers and the next steps of its
    generate()."""
    import torch
    import transformers

    torch.set_num_threads(1)
    warpers = transformers.LogitsProcessorList()
    if case.penalties:
        warpers.append(transformers.RepetitionPenaltyLogitsProcessor(case.repetition))
    if case.temperature != 1.0:
        warpers.append(transformers.TemperatureLogitsWarper(case.temperature))
    if case.top_k > 0:
        warpers.append(transformers.TopKLogitsWarper(case.top_k))
    if case.top_p < 1:
        warpers.append(transformers.TopPLogitsWarper(case.top_p))
    if case.min_p > 0:
        warpers.append(transformers.MinPLogitsWarper(case.min_p))
    ids = torch.tensor([history])

    def sample(rows):
        scores = warpers(ids.expand(len(rows), -1), torch.from_numpy(rows))
        return torch.multinomial(scores.softmax(dim=-1), 1)

    return sample


def llama_cpp_sampler(case, history):
    """Row by row, with llama.cpp's sampler chain."""
    largest_vocab = 1 << 20
    import llama_cpp as llama
    import numpy as np

    chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
    stages = []
    if case.penalties:
        stages.append(
            llama.llama_sampler_init_penalties(
                largest_vocab, len(history), case.repetition, case.frequency, case.presence
            )
        )
    if case.top_k > 0:
        stages.append(llama.llama_sampler_init_top_k(case.top_k))
    if case.top_p < 1:
        stages.append(llama.llama_sampler_init_top_p(case.top_p, 1))
    if case.min_p > 0:
        stages.append(llama.llama_sampler_init_min_p(case.min_p, 1))
    if case.temperature != 1.0:
        stages.append(llama.llama_sampler_init_temp(case.temperature))
    stages.append(llama.llama_sampler_init_dist(0))
    for stage in stages:
        llama.llama_sampler_chain_add(chain, stage)
    for token in history if case.penalties else ():
        llama.llama_sampler_accept(chain, token)
    token_type = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])

    def sample(rows):
        # Do what llama_sampler_sample() does, which needs a model.
        tokens = np.empty(rows.shape[1], token_type)
        ids = np.arange(rows.shape[1], dtype=np.int32)
        data = tokens.ctypes.data_as(ctypes.POINTER(llama.llama_token_data))
        drawn = []
        for row in rows:
            tokens["id"] = ids
            tokens["logit"] = row
            array = llama.llama_token_data_array(data, len(row), -1, False)
            llama.llama_sampler_apply(chain, ctypes.byref(array))
            drawn.append([tokens["id"][array.selected]])
        return drawn

    return sample


PEERS = {
    "torch": torch_sampler,
    "transformers": transformers_sampler,
    "llama.cpp": llama_cpp_sampler,
    "numpy": numpy_sampler,
}

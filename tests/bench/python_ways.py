#!/usr/bin/env python3
"""Times the ways to send logits from Python: inline, through shared memory, as candidates.

Usage, with the stubs and the virtual environment of the README's section on Python:
  PYTHONPATH=build/python build/python/bin/python tests/bench/python_ways.py build/release/bin/token-sampler-server

A call has 64 rows of 128,256 float32 logits, top-k 50 and top-p 0.9, as in the table of plane-bench. Its time
is that of building the request from the array, sending it and reading the tokens. The ways take turns.
"""

import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import grpc
import numpy as np
from token_sampler.v1 import (
    sampling_params_pb2,
    tensor_pb2,
    token_sampler_pb2,
    token_sampler_pb2_grpc,
)

ROWS, VOCAB = 64, 128_256
CANDIDATES = 64
TURNS = 15
MESSAGE_BYTES = 1 << 30
SHARED_NAME = "token-sampler-python-ways"


def start(server, folder):
    """The running server and its address."""
    file = pathlib.Path(folder, "address")
    process = subprocess.Popen(
        [server, "--listen", "127.0.0.1:0", "--address-file", file, "--shared-memory=system",
         "--log-level=error"]
    )  # fmt: skip
    while not file.exists() or not file.read_text().strip():
        if process.poll() is not None:
            raise SystemExit("the server has not started")
        time.sleep(0.01)
    return process, file.read_text().strip()


def request(tensor):
    return token_sampler_pb2.SampleRequest(
        tensor=tensor,
        params=[sampling_params_pb2.SamplingParams(top_k=50, top_p=0.9)],
        keys=token_sampler_pb2.RowKeys(seeds=[1], steps=[0]),
    )


def tensor(**values):
    return tensor_pb2.Tensor(dtype="DATA_TYPE_FLOAT32", rows=ROWS, vocab=VOCAB, **values)


def main():
    logits = np.random.default_rng(1).normal(0, 3, (ROWS, VOCAB)).astype(np.float32)
    likeliest = np.argpartition(-logits, CANDIDATES)[:, :CANDIDATES]
    values = np.take_along_axis(logits, likeliest, axis=1)
    with tempfile.TemporaryDirectory() as folder:
        server, address = start(sys.argv[1], folder)
        try:
            options = [("grpc.max_send_message_length", MESSAGE_BYTES)]
            sampler = token_sampler_pb2_grpc.TokenSamplerStub(
                grpc.insecure_channel(address, options)
            )
            shared = np.memmap(f"/dev/shm/{SHARED_NAME}", logits.dtype, "w+", shape=logits.shape)
            shared[:] = logits
            region = tensor_pb2.RegisterRegionRequest(
                name="logits", kind="REGION_KIND_SYSTEM", key=SHARED_NAME, byte_size=shared.nbytes
            )
            sampler.RegisterRegion(region)
            ways = {
                "inline": lambda: tensor(data=logits.tobytes()),
                "shared memory": lambda: tensor(region=tensor_pb2.RegionSlice(name="logits")),
                f"{CANDIDATES} candidates": lambda: tensor(
                    candidates=tensor_pb2.Candidates(
                        lengths=[CANDIDATES] * ROWS,
                        token_ids=likeliest.ravel().tolist(),
                        values=values.tobytes(),
                    )
                ),
            }
            seconds = {way: [] for way in ways}
            tokens = set()
            for turn in range(TURNS):
                for way, make in ways.items():
                    begin = time.perf_counter()
                    answer = sampler.Sample(request(make()), timeout=30)
                    drawn = tuple(answer.token_ids)
                    if turn > 0:  # the first opens the connection and warms the caches
                        seconds[way].append(time.perf_counter() - begin)
                    tokens.add(drawn)
            # top-k 50 is decided by 64 candidates, so all ways draw the same.
            assert len(tokens) == 1, "the ways drew different tokens"
            for way, times in seconds.items():
                low, high = min(times) * 1e3, max(times) * 1e3
                print(
                    f"{way:>16}  {statistics.median(times) * 1e3:7.1f} ms  ({low:.1f} to {high:.1f})"
                )
        finally:
            pathlib.Path("/dev/shm", SHARED_NAME).unlink(missing_ok=True)
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Compares the server with Triton sampling in torch. Usage: see tests/bench/run.sh

Both get the same calls from the same client, tritonclient, over gRPC: logits in the same system
shared memory, top-k 50, top-p 0.9, one token id per row. They take turns. pytriton runs Triton and
its sampler, with torch on all cores.
"""

import argparse
import concurrent.futures
import contextlib
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

try:
    import pytriton  # noqa: F401
    import torch
    import tritonclient.grpc as grpc
    import tritonclient.utils.shared_memory as shm
except ImportError as error:
    print(f"skipped: Triton ({error})")
    sys.exit(0)

SHAPES = [(1, 32_000), (8, 32_000), (64, 32_000), (1, 128_256), (8, 128_256), (64, 128_256)]
TOP_K = 50
TOP_P = 0.9
TURNS = 4
START_SECONDS = 60


def torch_sampler(logits):
    """Token ids [rows, 1] of logits [rows, vocab], as inference engines write it."""
    values, ids = torch.topk(torch.from_numpy(logits), TOP_K)
    probabilities = torch.softmax(values, dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities
    probabilities[before >= TOP_P] = 0
    return ids.gather(1, torch.multinomial(probabilities, 1)).numpy()


def serve(port):
    """Runs Triton until it is stopped."""
    from pytriton.decorators import batch
    from pytriton.model_config import ModelConfig, Tensor
    from pytriton.triton import Triton, TritonConfig, TritonSecurityConfig

    @batch
    def infer(logits):
        return {"token_ids": torch_sampler(logits)}

    config = TritonConfig(
        grpc_port=port, http_port=free_port(), metrics_port=free_port(), log_verbose=0
    )
    # By default, Triton requires a token for shared memory.
    open_to_all = TritonSecurityConfig(restricted_endpoints=[])
    with Triton(config=config, security_config=open_to_all) as triton:
        triton.bind(
            model_name="sampler",
            infer_func=infer,
            inputs=[Tensor(name="logits", dtype=np.float32, shape=(-1,))],
            outputs=[Tensor(name="token_ids", dtype=np.int64, shape=(1,))],
            config=ModelConfig(max_batch_size=64),
        )
        triton.serve()


def free_port():
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


@contextlib.contextmanager
def running(name, command, address):
    """Runs a server during the block, which begins when the server can sample."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            client = grpc.InferenceServerClient(address)
            end = time.monotonic() + START_SECONDS
            while not is_ready(client):
                if process.poll() is not None or time.monotonic() > end:
                    log.seek(0)
                    sys.exit(f"{name} did not start:\n{log.read().decode(errors='replace')}")
                time.sleep(0.1)
            yield client
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def is_ready(client):
    try:
        return client.is_model_ready("sampler")
    except grpc.InferenceServerException:
        return False


class Target:
    """A server and the calls that it got."""

    def __init__(self, client, parameters):
        self.client = client
        self.parameters = parameters

    def begin(self):
        self.milliseconds = []
        self.seconds = 0.0

    def call(self, logits):
        began = time.perf_counter()
        answer = self.client.infer("sampler", [logits], parameters=self.parameters, outputs=OUTPUTS)
        took = time.perf_counter() - began
        if answer.as_numpy("token_ids").shape != (logits.shape()[0], 1):
            sys.exit("a call gave no tokens")
        return took * 1e3

    def load(self, pool, calls, logits, seconds):
        """Keeps `calls` calls in flight."""
        began = time.perf_counter()

        def loop():
            taken = []
            while not taken or time.perf_counter() - began < seconds:
                taken.append(self.call(logits))
            return taken

        for loops in [pool.submit(loop) for _ in range(calls)]:
            self.milliseconds += loops.result()
        self.seconds += time.perf_counter() - began

    def figures(self):
        """Calls per second, and the 50th and 99th percentile of their latency in milliseconds."""
        taken = sorted(self.milliseconds)
        last = taken[min(len(taken) - 1, int(len(taken) * 0.99))]
        return len(taken) / self.seconds, statistics.median(taken), last


OUTPUTS = [grpc.InferRequestedOutput("token_ids")]


def compare(clients, options):
    targets = [
        Target(clients[0], {"top_k": TOP_K, "top_p": TOP_P, "seed": 1}),
        Target(clients[1], None),
    ]
    largest = max(rows * vocab for rows, vocab in SHAPES) * 4
    region = shm.create_shared_memory_region("logits", "/token-sampler-bench", largest)
    try:
        values = np.random.default_rng(1).normal(0, 3, largest // 4).astype(np.float32)
        shm.set_shared_memory_region(region, [values])
        for client in clients:
            client.register_system_shared_memory("logits", "/token-sampler-bench", largest)
        columns = ["rows", "calls in flight", "calls/s", "p50, p99 ms"]
        columns += ["Triton calls/s", "Triton p50, p99 ms", "calls/s, ours : Triton"]
        print("\n| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
        for rows, vocab in SHAPES:
            logits = grpc.InferInput("logits", [rows, vocab], "FP32")
            logits.set_shared_memory("logits", rows * vocab * 4)
            for calls in options.calls:
                print_cell(targets, logits, calls, options.seconds)
    finally:
        shm.destroy_shared_memory_region(region)


def print_cell(targets, logits, calls, seconds):
    with concurrent.futures.ThreadPoolExecutor(calls) as pool:
        for target in targets:
            target.begin()
            target.load(pool, calls, logits, 0)
            target.begin()
        for _ in range(TURNS):
            for target in targets:
                target.load(pool, calls, logits, seconds / TURNS)
    rows, vocab = logits.shape()
    cells = [f"{rows} x {vocab}", str(calls)]
    figures = [target.figures() for target in targets]
    for rate, middle, last in figures:
        cells += [f"{rate:.0f}", f"{middle:.2f}, {last:.2f}"]
    print("| " + " | ".join([*cells, f"{figures[0][0] / figures[1][0]:.1f}"]) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="per cell (default: 1)")
    parser.add_argument("--calls", type=int, nargs="+", default=[1, 4], help="in flight")
    parser.add_argument("--serve", type=int, metavar="PORT", help="be the Triton server")
    parser.add_argument("server", nargs="?", help="token-sampler-server")
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    ours, theirs = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    command = [options.server, f"--listen={ours}", "--device=cpu", "--shared-memory=system"]
    port = theirs.rsplit(":", 1)[1]
    with running("token-sampler", command, ours) as client:
        with running("Triton", [sys.executable, "-B", __file__, "--serve", port], theirs) as triton:
            compare([client, triton], options)


if __name__ == "__main__":
    main()

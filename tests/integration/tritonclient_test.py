#!/usr/bin/env python3
"""Tests the server with Triton's own Python client.

Usage: tritonclient_test.py SERVER CLIENT

It finds the interpreter of install-triton.sh itself and runs under it.
"""

import base64
import json
import os
import pathlib
import subprocess
import sys
import threading
import unittest

from triton_package import install

DATA = pathlib.Path(__file__).resolve().parents[1] / "data"

if len(sys.argv) == 3:
    python = install("client")
    os.execv(python, [python, "-B", *sys.argv, "in-environment"])

# pylint: disable=wrong-import-position
import ml_dtypes  # noqa: E402
import numpy as np  # noqa: E402
import tritonclient.grpc as triton  # noqa: E402
import tritonclient.utils.shared_memory as shm  # noqa: E402
from tritonclient.utils import InferenceServerException  # noqa: E402

SERVER, CLIENT = sys.argv[1:3]
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("TOKEN_SAMPLER_")}
DATATYPES = {
    "float16": "FP16", "float32": "FP32", "float64": "FP64", "bfloat16": "BF16",
    "int32": "INT32", "uint64": "UINT64", "object": "BYTES",
}  # fmt: skip


def tensor(name, values):
    made = triton.InferInput(name, list(values.shape), DATATYPES[values.dtype.name])
    made.set_data_from_numpy(values)
    return made


def outputs(*names):
    return [triton.InferRequestedOutput(name) for name in names]


class TritonclientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = subprocess.Popen(
            [SERVER, "--listen=127.0.0.1:0", "--device=cpu", "--shared-memory=system"],
            stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
        )  # fmt: skip
        while "serving on " not in (line := cls.server.stderr.readline()):
            assert line, "the server did not start"
        cls.address = line.split("serving on ")[1].strip()
        cls.client = triton.InferenceServerClient(cls.address)
        cls.bible = DATA / "kjv_trigram_logits_f16.npy"
        cls.logits = np.load(cls.bible)[:4]

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.server.terminate()
        cls.server.communicate()
        assert cls.server.returncode == 0, f"the server ended with {cls.server.returncode}"

    def native_tokens(self, *flags):
        """The tokens that the project's own client prints for the same rows."""
        shown = subprocess.run(
            [CLIENT, "sample", "--address", self.address, "--logits", self.bible, "--rows", "0:4",
             "--format", "json", *flags],
            stdout=subprocess.PIPE, text=True, check=True, env=ENVIRONMENT,
        ).stdout  # fmt: skip
        return [row["token_ids"] for row in json.loads(shown)["rows"]]

    def assert_refused(self, status, text, call, *arguments, **options):
        with self.assertRaises(InferenceServerException) as caught:
            call(*arguments, **options)
        self.assertEqual(caught.exception.status(), f"StatusCode.{status}")
        self.assertIn(text, caught.exception.message())

    def test_draws_the_same_tokens_as_the_native_client(self):
        parameters = {"seed": 1611, "top_k": 40, "num_samples": 3}
        answer = self.client.infer(
            "sampler", [tensor("logits", self.logits)], parameters=parameters
        )
        self.assertEqual(
            answer.as_numpy("token_ids").tolist(),
            self.native_tokens("--seed", "1611", "--top-k", "40", "--num-samples", "3"),
        )

    def test_takes_every_type_of_logits(self):
        for kind in (np.float16, np.float32, np.float64, ml_dtypes.bfloat16):
            with self.subTest(kind=kind):
                logits = self.logits.astype(kind)
                answer = self.client.infer(
                    "sampler", [tensor("logits", logits)], parameters={"temperature": 0.0}
                )
                # If several are largest, both take the first.
                likeliest = logits.astype(np.float64).argmax(axis=1)
                self.assertEqual(answer.as_numpy("token_ids")[:, 0].tolist(), likeliest.tolist())

    def test_weights_with_parameters_per_row(self):
        answer = self.client.infer(
            "sampler",
            [
                tensor("weights", np.array([[1, 2, 5], [0, 0, 1]], np.float32)),
                tensor("num_samples", np.array([[2], [1]], np.int32)),
                tensor("seed", np.array([[7], [8]], np.uint64)),
                tensor("stage_preset", np.array([["VLLM"], ["HF"]], object)),
            ],
        )
        self.assertEqual(answer.as_numpy("token_ids").tolist(), [[0, 1], [2, -1]])
        self.assertEqual(answer.as_numpy("seed").tolist(), [[7], [8]])

    def test_gives_the_outputs_that_are_asked_for(self):
        answer = self.client.infer(
            "sampler",
            [tensor("logits", self.logits)],
            outputs=outputs("top_logprobs", "logprobs", "entropy", "top_token_ids"),
            parameters={"temperature": 0, "top_logprobs": 3},
            request_id="some id",
        )
        self.assertEqual(answer.get_response().id, "some id")
        row = self.logits.astype(np.float64)
        logprobs = row - np.log(np.exp(row).sum(axis=1, keepdims=True))
        likeliest = np.argsort(-row, axis=1, kind="stable")[:, :3]
        self.assertEqual(answer.as_numpy("top_token_ids").tolist(), likeliest.tolist())
        top = np.take_along_axis(logprobs, likeliest, axis=1)
        np.testing.assert_allclose(answer.as_numpy("top_logprobs"), top, rtol=1e-5)
        np.testing.assert_allclose(answer.as_numpy("logprobs"), top[:, :1], rtol=1e-5)
        entropy = -(np.exp(logprobs) * logprobs).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(answer.as_numpy("entropy"), entropy, rtol=1e-5)

    def test_a_bad_row_fails_alone(self):
        answer = self.client.infer(
            "sampler", [tensor("logits", np.array([[1, 2], [np.nan, 2]], np.float32))]
        )
        self.assertEqual(answer.as_numpy("status").tolist(), [[0], [11]])
        self.assertEqual(answer.as_numpy("token_ids")[1].tolist(), [-1])
        self.assertIn(b"got nan", answer.as_numpy("message")[1][0])

    def test_a_sequence_goes_on_from_its_state(self):
        inputs = [tensor("logits", self.logits)]
        parameters = {"mirostat.version": 2, "seed": 3, "step": 0}
        first = self.client.infer(
            "sampler", inputs, outputs=outputs("state.mirostat_mu"), parameters=parameters
        ).as_numpy("state.mirostat_mu")
        second = self.client.infer(
            "sampler", [*inputs, tensor("state.mirostat_mu", first)],
            outputs=outputs("state.mirostat_mu"), parameters={**parameters, "step": 1},
        ).as_numpy("state.mirostat_mu")  # fmt: skip
        self.assertTrue((first != second).any())

    def test_asynchronous_calls(self):
        done = threading.Semaphore(0)
        answers = {}

        def take(seed):
            def callback(result, error):
                answers[seed] = error or result.as_numpy("seed").tolist()
                done.release()

            return callback

        inputs = [tensor("logits", self.logits)]
        for seed in range(8):
            self.client.async_infer("sampler", inputs, take(seed), parameters={"seed": seed})
        for _ in range(8):
            self.assertTrue(done.acquire(timeout=60))
        self.assertEqual(answers, {seed: [[seed]] * 4 for seed in range(8)})

    def test_streams(self):
        done = threading.Semaphore(0)
        answers = []

        def take(result, error):
            answers.append(str(error) if error else result.get_response().id)
            done.release()

        inputs = [tensor("logits", self.logits)]
        with triton.InferenceServerClient(self.address) as client:
            client.start_stream(take)
            client.async_stream_infer("sampler", inputs, request_id="first")
            client.async_stream_infer("other", inputs, request_id="bad")
            client.async_stream_infer("sampler", inputs, request_id="last")
            for _ in range(3):
                self.assertTrue(done.acquire(timeout=60))
            client.stop_stream()
        self.assertEqual([answers[0], answers[2]], ["first", "last"])
        self.assertIn('no model "other"', answers[1])

    def test_statuses(self):
        good = [tensor("logits", self.logits)]
        infer = self.client.infer
        self.assert_refused("NOT_FOUND", "this server's is", infer, "other", good)
        self.assert_refused("NOT_FOUND", "no version", infer, "sampler", good, model_version="2")
        self.assert_refused(
            "INVALID_ARGUMENT", "parameters.top_m", infer, "sampler", good, parameters={"top_m": 1}
        )
        self.assert_refused(
            "INVALID_ARGUMENT", "parameters.top_p ", infer, "sampler", good,
            parameters={"top_p": 1.5},
        )  # fmt: skip
        self.assert_refused(
            "INVALID_ARGUMENT", "no output tokens", infer, "sampler", good,
            outputs=outputs("tokens"),
        )  # fmt: skip

    def test_what_it_says_of_itself(self):
        client = self.client
        self.assertTrue(client.is_server_live())
        self.assertTrue(client.is_server_ready())
        self.assertTrue(client.is_model_ready("sampler"))
        self.assertFalse(client.is_model_ready("other"))
        self.assertEqual(client.get_server_metadata().name, "token-sampler")
        inputs = [i.name for i in client.get_model_metadata("sampler").inputs]
        self.assertEqual(inputs[:2], ["logits", "weights"])
        self.assertIn("xtc.threshold", inputs)
        config = client.get_model_config("sampler", as_json=True)["config"]
        self.assertEqual(config["max_batch_size"], 4096)
        client.infer("sampler", [tensor("logits", self.logits)])
        model = client.get_inference_statistics("sampler").model_stats[0]
        self.assertGreaterEqual(model.inference_count, 4)

    def test_shared_memory(self):
        client = self.client
        client.unregister_system_shared_memory()
        client.unregister_cuda_shared_memory()
        self.assertEqual(client.get_system_shared_memory_status(as_json=True), {})
        key = f"/token-sampler-triton-{os.getpid()}"
        size = self.logits.nbytes + 64
        handle = shm.create_shared_memory_region("logits", key, size)
        try:
            shm.set_shared_memory_region(handle, [self.logits], offset=64)
            client.register_system_shared_memory("logits", key, size)
            status = client.get_system_shared_memory_status(as_json=True)["regions"]["logits"]
            self.assertEqual((status["key"], int(status["byte_size"])), (key, size))
            given = triton.InferInput("logits", list(self.logits.shape), "FP16")
            given.set_shared_memory("logits", self.logits.nbytes, offset=64)
            taken = triton.InferRequestedOutput("token_ids")
            taken.set_shared_memory("logits", 64)
            streams = tensor("stream", np.arange(4, dtype=np.int32))
            answer = client.infer(
                "sampler", [given, streams], outputs=[taken, *outputs("status")],
                parameters={"seed": 1611},
            )  # fmt: skip
            self.assertEqual(answer.as_numpy("status").tolist(), [[0]] * 4)
            tokens = shm.get_contents_as_numpy(handle, np.int32, [4, 1])
            self.assertEqual(tokens.tolist(), self.native_tokens("--seed", "1611"))
            self.assert_refused(
                "ALREADY_EXISTS", "is registered", client.register_system_shared_memory,
                "logits", key, size,
            )  # fmt: skip
            client.unregister_system_shared_memory("logits")
            self.assert_refused("NOT_FOUND", "no region", client.infer, "sampler", [given])
        finally:
            client.unregister_system_shared_memory()
            shm.destroy_shared_memory_region(handle)
        self.assert_refused(
            "PERMISSION_DENIED", "--shared-memory-prefix", client.register_system_shared_memory,
            "region", "/psm_1", 64,
        )  # fmt: skip
        self.assert_refused(
            "FAILED_PRECONDITION", "kind cuda are off", client.register_cuda_shared_memory,
            "region", base64.b64encode(bytes(64)), 0, 64,
        )  # fmt: skip


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])

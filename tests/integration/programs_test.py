#!/usr/bin/env python3
"""Runs the server and the client as users do: good and bad input, and the server's end.

Usage: programs_test.py SERVER CLIENT
"""

import json
import os
import pathlib
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

DATA = pathlib.Path(__file__).resolve().parents[1] / "data"
SERVER, CLIENT = sys.argv[1:3]
BIBLE = DATA / "kjv_trigram_logits_f16.npy"
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("TOKEN_SAMPLER_")}


class Server:
    """A running server. Its log says where it listens."""

    def __init__(self, *flags, prefix=(), variables=None):
        self.process = subprocess.Popen(
            [*prefix, SERVER, "--device=cpu", "--log-format=json", *flags],
            stderr=subprocess.PIPE, text=True, env={**ENVIRONMENT, **(variables or {})},
        )  # fmt: skip
        self.log = []
        while not self.log or not self.log[-1]["message"].startswith("serving on "):
            line = self.process.stderr.readline()
            assert line, f"the server did not start: {self.log}"
            self.log.append(json.loads(line))
        self.addresses = self.log[-1]["message"].removeprefix("serving on ").split(", ")

    def stop(self, number=signal.SIGTERM):
        """Its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        rest = self.process.communicate(timeout=60)[1]
        self.log += [json.loads(line) for line in rest.splitlines()]
        return self.process.returncode


def client(*arguments, variables=None):
    return subprocess.run(
        [CLIENT, *map(str, arguments)], capture_output=True, text=True, timeout=60,
        env={**ENVIRONMENT, **(variables or {})}, check=False,
    )  # fmt: skip


def write_npy(path, kind, shape, values):
    """A .npy file; kind is "f" or "d" (little-endian floats), or "I" or "q" (integers)."""
    descr = {"f": "<f4", "d": "<f8", "I": "<u4", "q": "<i8"}[kind]
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    path.write_bytes(
        b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
        + struct.pack(f"<{len(values)}{kind}", *values)
    )  # fmt: skip
    return path


class ProgramsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.scratch.name)
        cls.server = Server("--listen=127.0.0.1:0", f"--listen=unix:{cls.folder}/socket")
        cls.tcp, cls.unix = cls.server.addresses

    @classmethod
    def tearDownClass(cls):
        code = cls.server.stop()
        gone = not (cls.folder / "socket").exists()
        cls.scratch.cleanup()
        assert code == 0, f"the server ended with {code}: {cls.server.log}"
        assert gone, "the socket is still there"

    def rows(self, *arguments, address=None, code=0):
        done = client("sample", "--address", address or self.tcp, "--format", "json", *arguments)
        self.assertEqual(done.returncode, code, done.stderr)
        answer = json.loads(done.stdout)
        self.assertEqual(answer["spec_version"], 2)
        return answer["rows"]

    def tokens(self, *arguments, **options):
        return [row["token_ids"] for row in self.rows(*arguments, **options)]

    def refusal(self, *arguments, code=1):
        done = client("sample", "--address", self.tcp, *arguments)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stderr

    def test_a_seed_repeats_its_tokens_over_any_transport(self):
        first = self.tokens("--logits", BIBLE, "--seed", 5)
        self.assertEqual(len(first), 63)
        self.assertEqual(self.tokens("--logits", BIBLE, "--seed", 5), first)
        self.assertEqual(self.tokens("--logits", BIBLE, "--seed", 5, address=self.unix), first)
        self.assertNotEqual(self.tokens("--logits", BIBLE, "--seed", 6), first)
        self.assertNotEqual(self.tokens("--logits", BIBLE, "--seed", 5, "--step", 1), first)

    def test_a_part_of_the_rows_draws_what_it_draws_among_all(self):
        all_rows = self.tokens("--logits", BIBLE, "--seed", 5, "--top-p", 0.9)
        part = self.tokens("--logits", BIBLE, "--seed", 5, "--top-p", 0.9, "--rows", "20:30")
        self.assertEqual(part, all_rows[20:30])

    def test_rows_have_streams_of_their_own_unless_told(self):
        flat = write_npy(self.folder / "flat.npy", "f", "(8, 1000)", [0.0] * 8000)
        rows = self.rows("--logits", flat, "--seed", 3)
        self.assertEqual([row["stream"] for row in rows], list(range(8)))
        self.assertGreater(len({row["token_ids"][0] for row in rows}), 1)
        rows = self.rows("--logits", flat, "--seed", 3, "--stream", 4)
        self.assertEqual({row["stream"] for row in rows}, {4})
        self.assertEqual(len({row["token_ids"][0] for row in rows}), 1)

    def test_a_mask_is_of_every_row_or_of_each(self):
        flat = write_npy(self.folder / "flat.npy", "f", "(3, 40)", [0.0] * 120)
        one = write_npy(self.folder / "one.npy", "I", "(2,)", [0, 1 << 3])
        self.assertEqual(self.tokens("--logits", flat, "--bitmask", one), [[35]] * 3)
        each = write_npy(self.folder / "each.npy", "I", "(3, 2)", [1, 0, 2, 0, 0, 1])
        self.assertEqual(self.tokens("--logits", flat, "--bitmask", each), [[0], [1], [32]])
        part = self.tokens("--logits", flat, "--bitmask", each, "--rows", "1:3")
        self.assertEqual(part, [[1], [32]])
        error = self.refusal("--logits", flat, "--bitmask", flat, code=2)
        self.assertIn("dtype must be <i4 or <u4, got '<f4'", error)
        wrong = write_npy(self.folder / "wrong.npy", "I", "(2, 2)", [0] * 4)
        error = self.refusal("--logits", flat, "--bitmask", wrong, code=2)
        self.assertIn("shape must be [2] or [3, 2], got [2, 2]", error)

    def test_a_state_that_was_printed_goes_on(self):
        flags = ["--logits", BIBLE, "--rows", 2, "--seed", 1, "--top-p", 0.8]
        flags += ["--mirostat", "2:3", "--top-p-decay", "0.5:0.01"]
        state = self.rows(*flags)[0]["state"]
        self.assertEqual(state["top_p"], 0.4)
        text = ",".join(f"{name}={value!r}" for name, value in state.items())
        done = client("sample", "--address", self.tcp, *flags)
        self.assertIn(text, done.stdout)
        second = self.rows(*flags, "--step", 1, "--state", text)[0]["state"]
        self.assertEqual(second["top_p"], 0.2)
        self.assertNotEqual(second["mirostat_mu"], state["mirostat_mu"])

    def test_counts_are_as_good_as_a_sequence(self):
        flags = ["--logits", BIBLE, "--seed", 5, "--frequency-penalty", 1, "--repetition-penalty", 2]
        first = self.tokens(*flags, "--prompt-ids", "3,1,3", "--output-ids", "2,5,2")
        second = self.tokens(*flags, "--prompt-set", "1,3", "--output-counts", "5:1,2:2")
        self.assertEqual(first, second)
        self.assertNotEqual(first, self.tokens("--logits", BIBLE, "--seed", 5))

    def test_a_needed_history_is_asked_for(self):
        flags = ["--logits", BIBLE, "--seed", 5, "--presence-penalty", 1]
        self.rows(*flags)
        error = self.refusal(*flags, "--step", 2)
        self.assertIn("presence_penalty needs a history", error)
        error = self.refusal(*flags, "--step", 2, "--prompt-ids", 3)
        self.assertIn("presence_penalty needs the output", error)
        self.rows(*flags, "--step", 2, "--no-history")
        self.rows(*flags, "--step", 2, "--prompt-ids", 3, "--output-ids", "4,5")
        done = client(
            "describe", "--address", self.tcp, *flags, "--rows", 1, "--step", 2, "--output-ids", 3
        )
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_ids_that_are_no_tokens_are_skipped_and_counted(self):
        flags = ["--logits", BIBLE, "--rows", 1, "--seed", 5, "--prompt-ids", "3,20000,20001"]
        self.assertIn("prompt_ids[1] ", client(
            "sample", "--address", self.tcp, *flags).stdout)
        self.assertEqual(self.rows(*flags, "--skip-unknown-ids")[0]["skipped_ids"], 2)
        done = client("describe", "--address", self.tcp, *flags, "--skip-unknown-ids")
        self.assertIn("skipped ids of the history: 2", done.stdout)
        error = self.refusal("--logits", BIBLE, "--skip-unknown-ids", code=2)
        self.assertIn("--skip-unknown-ids", error)

    def verify(self, *arguments):
        done = client("verify", "--address", self.tcp, "--format", "json", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [(s["accepted"], s["token_ids"]) for s in json.loads(done.stdout)["sequences"]]

    def test_verify_accepts_what_the_target_would_draw(self):
        # Three rows with the greedy tokens 3, 1, 2, for a chain, and one row for an empty draft.
        logits = [0.0] * 16
        for place in (3, 4 + 1, 8 + 2, 12 + 0):
            logits[place] = 5.0
        target = write_npy(self.folder / "target.npy", "f", "(4, 4)", logits)
        flags = ["--logits", target, "--temperature", 0]
        self.assertEqual(self.verify(*flags, "--draft-ids", "3,1;"), [(2, [3, 1, 2]), (0, [0])])
        self.assertEqual(self.verify(*flags, "--draft-ids", "3,0,1"), [(1, [3, 1])])
        tree = self.verify(*flags, "--draft-ids", "0,3,2", "--parents=-1,-1,1")
        self.assertEqual(tree, [(2, [3, 2, 0])])
        drafts = write_npy(self.folder / "draft.npy", "f", "(2, 4)", [0, 0, 0, 1, 0, 1, 0, 0])
        sampled = ["--draft", drafts, "--draft-kind", "weights", "--seed", 7]
        self.assertEqual(
            self.verify(*flags, "--draft-ids", "3,1;", *sampled), [(2, [3, 1, 2]), (0, [0])]
        )

    def test_verify_says_what_is_malformed(self):
        for flags, message in (
            (["--draft-ids", "1,x"], "--draft-ids must be ID,...;ID,..., got 1,x"),
            (["--draft-ids", "1;2", "--parents=-1"], "--parents must be of 2 sequences, got -1"),
            (["--draft-ids", "1", "--parents=a"], "--parents must be N,...;N,..., got a"),
        ):
            done = client("verify", "--address", self.tcp, "--logits", BIBLE, *flags)
            self.assertEqual(done.returncode, 2)
            self.assertIn(message, done.stderr)

    def test_a_call_without_a_seed_is_told_which_repeats_it(self):
        row = self.rows("--logits", BIBLE, "--rows", 7)[0]
        again = self.rows(
            "--logits", BIBLE, "--rows", 7, "--seed", row["seed"], "--stream", row["stream"]
        )[0]
        self.assertEqual(again, row)
        # The seed is text, which no JSON parser rounds. The client also accepts it with quotes.
        self.assertEqual(row["seed"], str(int(row["seed"])))
        quoted = f'"{row["seed"]}"'
        self.assertEqual(self.rows("--logits", BIBLE, "--rows", 7, "--seed", quoted, "--stream", 0)[0]
                         ["seed"], row["seed"])  # fmt: skip

    def test_a_table_shows_what_the_filters_kept_or_says_why_not(self):
        flags = ["--logits", BIBLE, "--rows", 2, "--seed", 1, "--min-p", 0.3]
        done = client("sample", "--address", self.tcp, *flags, "--kept-set", "--extremes")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"largest +smallest +kept tokens\n")
        self.assertRegex(done.stdout, r" 2 +3 +35.9% +4.04e-06% +3 42%, 23 58%\n")
        error = self.refusal(*flags, "--gumbel-softmax", 1, code=2)
        self.assertIn("--gumbel-softmax needs --format json", error)

    def test_mistakes_are_told_in_words_of_the_command_line(self):
        for arguments, message in (
            (["sampel"], "did you mean sample?"),
            (["sample", "--top-pp", 1], "did you mean --top-p?"),
            (["sample", "--top-k", -1], "--top-k: "),
            (["sample", "--logits", "/nowhere.npy"], "error: /nowhere.npy: "),
            (["sample", "--logits", BIBLE, "--vocab", "/"], "expected the words"),
            (["describe", "--ranks"], "--ranks"),
            (["info", "--address", "here"], "error: --address "),
        ):
            with self.subTest(arguments=arguments):
                done = client(*arguments)
                self.assertEqual(done.returncode, 2)
                self.assertIn(message, done.stderr)
                self.assertNotIn("NOT_FOUND", done.stderr)

    def test_variables_that_nothing_reads_are_warned_of(self):
        unknown = {"TOKEN_SAMPLER_MAX_ROW": "7", "TOKEN_SAMPLER_ADRESS": "unix:/s"}
        meant = ["TOKEN_SAMPLER_ADDRESS", "TOKEN_SAMPLER_MAX_ROWS"]
        done = client("health", "--address", self.tcp, variables=unknown)
        self.assertEqual(done.returncode, 0)
        server = Server("--listen=127.0.0.1:0", variables=unknown)
        self.assertEqual(server.stop(), 0)
        logged = [line["message"] for line in server.log if line["level"] == "warning"]
        printed = done.stderr.splitlines()
        for warnings, beginning in ((printed, "warning: "), (logged, "")):
            self.assertEqual(len(warnings), 2)
            for warning, name, near in zip(sorted(warnings), sorted(unknown), meant):
                self.assertRegex(warning, rf"^{beginning}.* {name}; .* {near}\?$")

    def test_each_program_knows_the_variables_of_both(self):
        help_text = subprocess.run([SERVER, "--help"], capture_output=True, text=True, check=True)
        names = re.findall(r"Env:(TOKEN_SAMPLER_\w+)", help_text.stdout)
        self.assertGreater(len(names), 15)
        done = client("health", "--address", self.tcp, variables=dict.fromkeys(names, "1"))
        self.assertEqual(done.stderr, "")
        server = Server("--listen=127.0.0.1:0", variables={"TOKEN_SAMPLER_ADDRESS": "here:1",
                                                           "TOKEN_SAMPLER_TIMEOUT": "1s"})  # fmt: skip
        self.assertEqual(server.stop(), 0)
        self.assertEqual({line["level"] for line in server.log}, {"info"})

    def test_one_nan_row_among_good_ones_fails_alone(self):
        file = write_npy(self.folder / "nan.npy", "f", "(3, 2)", [1, 2, 1, float("nan"), 2, 1])
        rows = self.rows("--logits", file, "--seed", 1, code=3)
        self.assertEqual([row["status"] for row in rows], ["OK", "NAN", "OK"])
        self.assertEqual([len(row["token_ids"]) for row in rows], [1, 0, 1])
        self.assertIn("logit of token 1", rows[1]["message"])

    def test_the_errors_of_multinomial(self):
        def weights(name, values, kind="f"):
            return write_npy(self.folder / name, kind, f"({len(values)},)", values)

        good = weights("good.npy", [1, 2, 5])
        row = self.rows("--weights", weights("negative.npy", [1, -1, 1]), code=3)[0]
        self.assertEqual(row["status"], "NEGATIVE")
        row = self.rows("--weights", weights("zero.npy", [0, 0]), code=3)[0]
        self.assertEqual(row["status"], "ZERO_SUM")
        row = self.rows("--weights", weights("inf.npy", [1, float("inf")], "d"), code=3)[0]
        self.assertEqual(row["status"], "INFINITE")
        self.assertIn("num_samples ", self.refusal("--weights", good, "--num-samples", 4))
        self.assertIn("num_samples ", self.refusal("--weights", good, "--num-samples", 0))
        integers = weights("integers.npy", [1, 2], "q")
        self.assertIn("floating point", self.refusal("--weights", integers, code=2))
        (self.folder / "short.npy").write_bytes(good.read_bytes()[:-4])
        self.assertIn("short.npy", self.refusal("--weights", self.folder / "short.npy", code=2))
        self.assertEqual(len(self.tokens("--weights", good, "--num-samples", 3)[0]), 3)

    def test_logprobs_of_the_drawn_and_of_the_likeliest(self):
        row = self.rows("--logits", BIBLE, "--rows", 1, "--temperature", 0, "--logprobs", 5)[0]
        self.assertEqual(len(row["top_logprobs"]), 5)
        self.assertEqual(row["top_logprobs"][0]["token_id"], row["token_ids"][0])
        self.assertEqual(row["top_logprobs"][0]["logprob"], row["logprobs"][0])

    def test_health_and_info(self):
        self.assertEqual(client("health", "--address", self.tcp).returncode, 0)
        self.assertNotEqual(client("health", "--address", "127.0.0.1:1").returncode, 0)
        info = json.loads(client("info", "--address", self.unix, "--format", "json").stdout)
        self.assertEqual(info["backend"], "cpu")
        self.assertIn("top_k", info["features"])
        self.assertGreater(info["memory_budget_bytes"], info["max_response_bytes"])
        table = client("info", "--address", self.unix).stdout
        self.assertIn(f"\nmax response bytes {info['max_response_bytes']}\n", table)
        self.assertIn(f"\nmemory budget      {info['memory_budget_bytes']}\n", table)

    def test_load_reports_what_it_did(self):
        done = client(
            "load", "--address", self.tcp, "--calls", 50, "--concurrency", 3, "--rows", 2,
            "--vocab", 500, "--dtype", "bf16", "--format", "json",
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        report = json.loads(done.stdout)
        self.assertEqual((report["calls"], report["rows"], report["errors"]), (50, 100, {}))

    def test_load_takes_penalties_with_a_history_and_without(self):
        flags = ["--calls", 8, "--vocab", 50, "--repetition-penalty", 2, "--format", "json"]
        for history in ([], ["--no-history"], ["--output-ids", "1,60", "--skip-unknown-ids"]):
            done = client("load", "--address", self.tcp, *flags, *history)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_a_port_that_is_taken_ends_the_server_at_its_start(self):
        for form in ("text", "json"):
            done = subprocess.run(
                [SERVER, f"--listen={self.tcp}", f"--log-format={form}"],
                capture_output=True, text=True, timeout=60, env=ENVIRONMENT, check=False,
            )  # fmt: skip
            self.assertEqual(done.returncode, 1)
            self.assertIn(self.tcp, done.stderr)
            lines = done.stderr.splitlines()
            if form == "json":
                lines = [f"{line['level']} {line['message']}" for line in map(json.loads, lines)]
            for line in lines:
                self.assertRegex(line, r"^[\d :.-]*\[?(info|error)\]? ")

    def test_mistakes_of_the_server_have_one_exit_code(self):
        for flags, message in (
            (["--drain-timeout-ms", "-5"], "--drain-timeout-ms: "),
            (["--listen", "127.0.0.1:99999"], "--listen 127.0.0.1:99999: "),
            (["--max-rows", "many"], "--max-rows: "),
            (["--max-row", "5"], "did you mean --max-rows?"),
            (["--device", "tpu"], "--device "),
            (["here"], "here"),
        ):
            with self.subTest(flags=flags):
                done = subprocess.run(
                    [SERVER, *flags], capture_output=True, text=True, timeout=60, check=False,
                    env=ENVIRONMENT,
                )  # fmt: skip
                self.assertEqual(done.returncode, 2)
                self.assertIn(message, done.stderr)


class ThreadsTest(unittest.TestCase):
    def device(self, *flags, prefix=()):
        """The threads of the CPU sampler and their reason, as `info` and the log say them."""
        server = Server("--listen=127.0.0.1:0", *flags, prefix=prefix)
        info = client("info", "--address", server.addresses[0], "--format", "json")
        self.assertEqual(server.stop(), 0)
        device = json.loads(info.stdout)["device"]
        self.assertIn(f"backend cpu ({device})", server.log[0]["message"])
        return device

    def test_no_more_than_affinity_leaves_unless_told(self):
        one_cpu = ["taskset", "-c", str(min(os.sched_getaffinity(0)))]
        limit = " by CPU affinity" if os.cpu_count() > 1 else ""
        self.assertRegex(self.device(prefix=one_cpu), f"^1 thread{limit}, ")
        self.assertRegex(self.device("--threads=3", prefix=one_cpu), "^3 threads, ")


class EndTest(unittest.TestCase):
    def load(self, server, *flags):
        """A running load test: calls have been answered."""
        load = subprocess.Popen(
            [CLIENT, "load", "--address", server.addresses[0], "--vocab", "1000", "--duration", "1h",
             "--format", "json", *flags],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
        )  # fmt: skip
        load.stderr.readline()
        return load

    def test_an_interrupted_load_test_tells_what_it_measured(self):
        server = Server("--listen=127.0.0.1:0")
        for number in (signal.SIGINT, signal.SIGTERM):
            load = self.load(server)
            load.send_signal(number)
            report = json.loads(load.communicate(timeout=60)[0])
            self.assertEqual(load.returncode, 0)
            self.assertGreater(report["calls"], 0)
            self.assertLess(report["duration_s"], 60)
        self.assertEqual(server.stop(), 0)

    def test_calls_to_a_server_that_is_gone_are_no_throughput(self):
        server = Server("--listen=127.0.0.1:0")
        load = self.load(server, "--concurrency", "4")
        self.assertEqual(server.stop(), 0)
        while "failed 0\n" in load.stderr.readline():
            pass
        load.send_signal(signal.SIGINT)
        report = json.loads(load.communicate(timeout=60)[0])
        self.assertEqual(load.returncode, 1)
        self.assertEqual(report["calls"], report["rows"])
        self.assertGreater(report["failed_calls"], 0)
        # Each of the four callers pauses 10, 20 .. 640 ms and then a second after each failure.
        self.assertLess(report["failed_calls"], 400)

    def test_signals_end_it_with_exit_code_0(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            self.assertEqual(Server("--listen=127.0.0.1:0").stop(number), 0)

    def test_a_log_that_nobody_reads_holds_nothing_up(self):
        variables = {"GRPC_VERBOSITY": "debug", "GRPC_TRACE": "api,call_error,channel,http"}
        server = Server("--listen=127.0.0.1:0", "--log-level=debug", variables=variables)
        # Far more lines than fit the pipe.
        done = client("load", "--address", server.addresses[0], "--calls", 500, "--vocab", 50)
        self.assertEqual(done.returncode, 0, done.stderr)
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.process.wait(timeout=60), 0)
        server.process.stderr.close()

    def test_a_log_that_is_closed_is_no_matter(self):
        server = Server("--listen=127.0.0.1:0", variables={"GRPC_VERBOSITY": "debug"})
        server.process.stderr.close()
        done = client("load", "--address", server.addresses[0], "--calls", 50, "--vocab", 50)
        self.assertEqual(done.returncode, 0, done.stderr)
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.process.wait(timeout=60), 0)

    def test_without_standard_streams_it_serves(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "addresses"
            process = subprocess.Popen(
                ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", SERVER, "--device=cpu",
                 "--listen=127.0.0.1:0", f"--address-file={file}"], env=ENVIRONMENT,
            )  # fmt: skip
            limit = time.monotonic() + 60
            while not file.exists():
                self.assertIsNone(process.poll())
                self.assertLess(time.monotonic(), limit)
                time.sleep(0.01)
            done = client("health", "--address", file.read_text().strip())
            self.assertEqual(done.stdout, "SERVING\n", done.stderr)
            process.terminate()
            self.assertEqual(process.wait(timeout=60), 0)

    def test_a_socket_has_its_mode_and_one_server(self):
        with tempfile.TemporaryDirectory() as folder:
            address = f"unix:{folder}/socket"
            server = Server(f"--listen={address}", "--socket-mode=0620")
            self.assertEqual(os.stat(f"{folder}/socket").st_mode & 0o777, 0o620)
            second = subprocess.run(
                [SERVER, f"--listen={address}"], capture_output=True, text=True, timeout=60,
                env=ENVIRONMENT, check=False,
            )  # fmt: skip
            self.assertEqual(second.returncode, 1)
            self.assertIn(f"{address}: another server listens there", second.stderr)
            self.assertEqual(server.stop(), 0)
            self.assertEqual(os.listdir(folder), [])

    def test_a_stop_during_calls_loses_none_that_was_accepted(self):
        server = Server("--listen=127.0.0.1:0")
        load = subprocess.Popen(
            [CLIENT, "load", "--address", server.addresses[0], "--calls", "2000", "--rows", "4",
             "--vocab", "100000", "--concurrency", "8", "--format", "json"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        # The first line of progress: calls are in flight.
        load.stderr.readline()
        self.assertEqual(server.stop(), 0)
        report = json.loads(load.communicate(timeout=60)[0])
        self.assertGreater(report["rows"], 0)
        # The server refuses a call that comes too late with UNAVAILABLE. It cuts off no sampled
        # call.
        self.assertLessEqual(set(report["errors"]), {"UNAVAILABLE"})
        sampled = int(server.log[-1]["message"].removeprefix("stopped after ").split()[0])
        self.assertEqual(report["rows"], sampled)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])

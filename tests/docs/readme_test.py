#!/usr/bin/env python3
"""Holds README.md and deploy/ to what the programs really do.

Usage: readme_test.py SERVER CLIENT CXX

- A program is never shown with a flag that it does not have, and every flag of the server is told.
- The examples of `sample` print what README.md shows, to the letter: draws are reproducible.
- The other examples end well; those in C++ compile, with the compiler CXX.
- Every parameter and output of the protocol has a line in the tables of proto/README.md.

That of Python is tests/integration/python_example_test.py, which needs a package.
"""

import os
import pathlib
import re
import shlex
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERVER, CLIENT, CXX = sys.argv[1:4]
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
FILES = [ROOT / "README.md", *(f for f in (ROOT / "deploy").rglob("*") if f.is_file())]


def output(*command, **options):
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True, **options
    ).stdout


def client_commands():
    """The client's commands, as its help lists them."""
    return re.findall(r"^  ([a-z]+) ", output(CLIENT, "--help").split("ommands:")[1], re.MULTILINE)


def calls():
    """(file, program and command, flags) of every program call that the files show."""
    for file in FILES:
        text = file.read_text().replace("\\\n", " ")
        for name, rest in re.findall(r"token-sampler-(server|client)([^\n`|;#&]*)", text):
            words = re.sub(r'["\',]', " ", rest).split()
            if name == "client" and words and words[0] in client_commands():
                name = words[0]
            yield file, name, FLAG.findall(rest)
        if file.suffix == ".yaml" or file.name == "Dockerfile":
            for arguments in re.findall(r"^ *(?:args:|CMD) (\[\"--.*\])", text, re.MULTILINE):
                yield file, "server", FLAG.findall(arguments)


def examples():
    """(command, what it prints) of every example in README.md."""
    for block in re.findall(r"^```console\n(.*?)^```", (ROOT / "README.md").read_text(), re.S | re.M):
        for example in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, shown = re.match(r"((?:[^\n]*\\\n)*[^\n]*)\n(.*)", example, re.S).groups()
            yield command.replace("\\\n", " "), shown


class FlagsTest(unittest.TestCase):
    def test_shows_no_flag_that_the_program_does_not_have(self):
        known = {"server": set(FLAG.findall(output(SERVER, "--help")))}
        known["client"] = set(FLAG.findall(output(CLIENT, "--help")))
        for command in client_commands():
            known[command] = set(FLAG.findall(output(CLIENT, command, "--help")))
        shown = list(calls())
        self.assertGreater(len(shown), 10)
        for file, program, flags in shown:
            with self.subTest(file=file.name, program=program):
                self.assertLessEqual(set(flags), known[program])

    def test_tells_every_flag_of_the_server(self):
        told = set(FLAG.findall((ROOT / "README.md").read_text()))
        self.assertLessEqual(set(FLAG.findall(output(SERVER, "--help"))), told)


class ParametersTest(unittest.TestCase):
    def fields(self, file, message):
        """The fields of a message of the protocol."""
        text = (ROOT / "proto/token_sampler/v1" / file).read_text()
        body = re.search(rf"^message {message} {{\n(.*?)^}}", text, re.S | re.M).group(1)
        return set(re.findall(r"^  (?:optional |repeated )?[\w.]+ (\w+) = \d+;", body, re.M))

    def test_every_field_has_a_line(self):
        section = (ROOT / "proto/README.md").read_text()
        # The second column.
        told = [re.findall(r"`(\w+)`", line.split("|")[2])
                for line in section.splitlines() if line.startswith("|")]  # fmt: skip
        told = [name for names in told for name in names]
        self.assertEqual(len(told), len(set(told)))
        params = self.fields("sampling_params.proto", "SamplingParams")
        outputs = self.fields("token_sampler.proto", "OutputOptions")
        self.assertGreaterEqual(len(params), 35)
        self.assertGreaterEqual(len(outputs), 10)
        request = self.fields("token_sampler.proto", "SampleRequest")
        handled = {"tensor", "input_kind", "params", "row_params", "outputs"}
        self.assertEqual(set(told), params | outputs | (request - handled))


class ExamplesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = subprocess.Popen(
            [SERVER, "--listen=127.0.0.1:0", "--device=cpu"], stderr=subprocess.PIPE, text=True
        )
        # The log says where it listens; that its end is not read until the end is no matter.
        while "serving on " not in (line := cls.server.stderr.readline()):
            assert line, "the server did not start"
        cls.address = line.split("serving on ")[1].strip()

    @classmethod
    def tearDownClass(cls):
        cls.server.terminate()
        cls.server.communicate()
        code = cls.server.returncode
        assert code == 0, f"the server ended with {code}"

    def run_example(self, command):
        words = shlex.split(command)
        self.assertEqual(words[0], "token-sampler-client")
        return output(
            CLIENT, *words[1:], cwd=ROOT, env={**os.environ, "TOKEN_SAMPLER_ADDRESS": self.address}
        )

    def test_examples_of_sample_print_what_is_shown(self):
        samples = [e for e in examples() if e[0].startswith("token-sampler-client sample")]
        self.assertGreaterEqual(len(samples), 3)
        for command, shown in samples:
            with self.subTest(command=command):
                self.assertEqual(self.run_example(command), shown)

    def test_other_examples_end_well(self):
        others = [
            e for e in examples()
            if e[0].startswith("token-sampler-client ") and e[0].split()[1] != "sample"
        ]  # fmt: skip
        self.assertGreaterEqual({c.split()[1] for c, _ in others}, {"info", "health", "load"})
        for command, _ in others:
            with self.subTest(command=command):
                self.run_example(command)


class CppExamplesTest(unittest.TestCase):
    # What the examples take for granted.
    SURROUNDINGS = """
        #include "token_sampler/sampler_client.h"
        #include "token_sampler/sequence_stream.h"
        using namespace token_sampler::client;
        void Use(std::vector<float> logits, int64_t vocab, std::shared_ptr<float> buffer,
                 std::vector<uint32_t> prompt_ids) {
        %s
        }
    """

    def test_examples_compile(self):
        examples = re.findall(r"^```cpp\n(.*?)^```", (ROOT / "README.md").read_text(), re.S | re.M)
        self.assertGreaterEqual(len(examples), 2)
        output(
            CXX, "-std=c++20", "-Wall", "-Werror", "-Wno-unused-variable", "-fsyntax-only",
            f"-I{ROOT}/client/include", "-xc++", "-",
            input=self.SURROUNDINGS % "\n".join(examples),
        )  # fmt: skip


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])

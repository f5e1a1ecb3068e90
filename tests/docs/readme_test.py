#!/usr/bin/env python3
"""Checks that the pages (*.md) and deploy/ agree with what the programs do.

Usage: readme_test.py SERVER CLIENT CXX

- No page shows a program with a flag that it does not have, and README.md or server/README.md has
  every flag of the server.
- The examples of `sample` print exactly what their page shows, because draws are reproducible.
- The other examples succeed; those in C++ compile, with the compiler CXX.
- Every parameter, output and row code of the protocol has a line in the tables of proto/README.md.
- Every link leads to a file or folder, and to a heading in it if the link names one.

tests/integration/python_example_test.py runs the examples in Python, because these need packages.
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
PAGES = sorted(
    page for page in [*ROOT.glob("*.md"), *ROOT.glob(".github/*.md"), *ROOT.glob("[a-z]*/**/*.md")]
    if page.relative_to(ROOT).parts[0] != "build"
)  # fmt: skip
# The files that show how to call the programs.
FILES = sorted(
    {page for page in PAGES if page.relative_to(ROOT).parts[0] != "tests"}
    | {file for file in (ROOT / "deploy").rglob("*") if file.is_file()}
)
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def output(*command, **options):
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True, **options
    ).stdout


def client_commands():
    """The client's commands, as its help lists them."""
    return re.findall(r"^  ([a-z]+) ", output(CLIENT, "--help").split("ommands:")[1], re.MULTILINE)


def calls():
    """(file, program and command, flags) for every program call that the files show."""
    for file in FILES:
        text = file.read_text().replace("\\\n", " ")
        for name, rest in re.findall(r"token-sampler-(server|client)(?![\w-])([^\n`|;#&]*)", text):
            words = re.sub(r'["\',]', " ", rest).split()
            if name == "client" and words and words[0] in client_commands():
                name = words[0]
            yield file, name, FLAG.findall(rest)
        if file.suffix == ".yaml" or file.name == "Dockerfile":
            for arguments in re.findall(r"^ *(?:args:|CMD) (\[\"--.*\])", text, re.MULTILINE):
                yield file, "server", FLAG.findall(arguments)


def blocks(page, language):
    return [text for kind, text in FENCED.findall(page.read_text()) if kind == language]


def examples():
    """(page, command, output) for every example."""
    for page in PAGES:
        for block in blocks(page, "console"):
            for example in re.split(r"^\$ ", block, flags=re.M)[1:]:
                parts = re.match(r"((?:[^\n]*\\\n)*[^\n]*)\n(.*)", example, re.DOTALL)
                command, shown = parts.groups()
                yield page, command.replace("\\\n", " "), shown


def anchors(page):
    """The names that GitHub gives the headings of a page."""
    found = []
    for heading in re.findall(r"^#+ +(.*?) *$", FENCED.sub("", page.read_text()), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        found.append(f"{name}-{found.count(name)}" if name in found else name)
    return found


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
        pages = [ROOT / "README.md", ROOT / "server/README.md"]
        told = {flag for page in pages for flag in FLAG.findall(page.read_text())}
        self.assertLessEqual(set(FLAG.findall(output(SERVER, "--help"))), told)


class ParametersTest(unittest.TestCase):
    def fields(self, file, message):
        """The fields of a message of the protocol."""
        text = (ROOT / "proto/token_sampler/v1" / file).read_text()
        body = re.search(rf"^message {message} {{\n(.*?)^}}", text, re.S | re.M).group(1)
        return set(re.findall(r"^  (?:optional |repeated )?[\w.]+ (\w+) = \d+;", body, re.M))

    def test_every_field_has_a_line(self):
        section = re.search(
            r"^## Parameters\n(.*?)^## ", (ROOT / "proto/README.md").read_text(), re.S | re.M
        ).group(1)
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

    def test_every_row_code_has_a_line(self):
        text = (ROOT / "proto/token_sampler/v1/token_sampler.proto").read_text()
        codes = re.findall(r"^  (ROW_CODE_\w+) = (\d+);", text, re.MULTILINE)
        self.assertGreater(len(codes), 10)
        page = (ROOT / "proto/README.md").read_text()
        told = re.findall(r"^\| `(ROW_CODE_\w+)` \| (\d+) \|", page, re.MULTILINE)
        self.assertEqual(told, codes)


class LinksTest(unittest.TestCase):
    def test_every_link_leads_somewhere(self):
        links = 0
        for page in PAGES:
            text = re.sub(r"`[^`\n]*`", "", FENCED.sub("", page.read_text()))
            for target in re.findall(r"\]\(([^)\s]+)\)", text):
                if re.match(r"[a-z]+:", target):
                    continue
                links += 1
                path, _, anchor = target.partition("#")
                with self.subTest(page=str(page.relative_to(ROOT)), link=target):
                    file = (page.parent / path) if path else page
                    self.assertTrue(file.exists(), "no such file")
                    if anchor:
                        self.assertIn(anchor, anchors(file))
        self.assertGreater(links, 50)


class ExamplesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = subprocess.Popen(
            [SERVER, "--listen=127.0.0.1:0", "--device=cpu", "--shared-memory=system"],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        # The log says where it listens. The rest of the log is read only when the server ends.
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
        samples = [e for e in examples() if e[1].split()[1] == "sample"]
        self.assertGreaterEqual(len(samples), 4)
        for page, command, shown in samples:
            with self.subTest(page=str(page.relative_to(ROOT)), command=command):
                self.assertEqual(self.run_example(command), shown)

    def test_other_examples_end_well(self):
        others = [e for e in examples() if e[1].split()[1] != "sample"]
        self.assertEqual(
            {command.split()[1] for _, command, _ in others}, set(client_commands()) - {"sample"}
        )
        for page, command, _ in others:
            with self.subTest(page=str(page.relative_to(ROOT)), command=command):
                self.run_example(command)


class CppExamplesTest(unittest.TestCase):
    # The declarations that examples need unless they are whole files.
    SURROUNDINGS = """
        #include <cstring>
        #include "token_sampler/sampler_client.h"
        #include "token_sampler/sequence_stream.h"
        #include "token_sampler/shared_region.h"
        using namespace token_sampler::client;
        void Use(std::vector<float> logits, int64_t vocab, std::shared_ptr<float> buffer,
                 std::vector<uint32_t> prompt_ids) {
        %s
        }
    """

    def test_examples_compile(self):
        compiled = 0
        for page in PAGES:
            examples = blocks(page, "cpp")
            whole = [example for example in examples if "int main(" in example]
            parts = [example for example in examples if "int main(" not in example]
            files = whole + ([self.SURROUNDINGS % "\n".join(parts)] if parts else [])
            for text in files:
                with self.subTest(page=str(page.relative_to(ROOT)), text=text):
                    output(
                        CXX, "-std=c++20", "-Wall", "-Werror", "-Wno-unused-variable",
                        "-fsyntax-only", f"-I{ROOT}/client/include", "-xc++", "-", input=text,
                    )  # fmt: skip
            compiled += len(examples)
        self.assertGreaterEqual(compiled, 4)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])

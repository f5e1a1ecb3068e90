#!/usr/bin/env python3
"""Feeds each checker of this folder a violation, to show that the checker finds it."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

import check_includes
import check_kernel_coverage
import check_layout
import check_tables
import compile_commands
import passed

HERE = pathlib.Path(__file__).resolve().parent


class Tree(unittest.TestCase):
    """A tree of files, which is deleted after the test."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        for name in ("sampler", "cuda", "server", "client", "deploy", "tests", ".ci"):
            (self.root / name).mkdir()
        # Checks that passed are remembered here.
        patch = unittest.mock.patch.dict(os.environ, XDG_CACHE_HOME=str(self.root / "cache"))
        patch.start()
        self.addCleanup(patch.stop)
        self.write(".ci/run", "#!/bin/sh\n")

    def write(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def run_script(self, name):
        """The exit code and the output of a shell checker on the tree."""
        run = subprocess.run(
            [HERE / name, self.root],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        return run.returncode, run.stdout


class TablesTest(Tree):
    """The project's own files, changed."""

    FILES = ("sampler/params/sampling_params.h", "proto/token_sampler/v1/sampling_params.proto",
             "proto/README.md")  # fmt: skip

    def problems(self, file="", old="", new=""):
        for name in self.FILES:
            text = (HERE.parents[1] / name).read_text()
            if name == file:
                self.assertIn(old, text)
                text = text.replace(old, new)
            self.write(name, text)
        return check_tables.check(self.root)

    def test_accepts_documents_that_state_the_ranges(self):
        self.assertEqual(self.problems(), [])

    def test_rejects_a_range_that_departs_from_the_table(self):
        header, proto, page = self.FILES
        for file, old, new, found in [
            (header, '"min_p", Closed(0, 1)', '"min_p", Closed(0, 2)', "min_p"),
            (header, '"epsilon_cutoff", Below(0, 1)', '"epsilon_cutoff", Closed(0, 1)', "epsilon"),
            (proto, "// target surprise in bits, (0, 1e3]", "// in bits, (0, 1e4]", "mirostat.tau"),
            (proto, "optional double top_n_sigma = 17;", "", "has no top_n_sigma"),
            (page, "| `top_n_sigma` | 0 | [0, 1e6] |", "| `top_n_sigma` | 0 | [0, 1e5] |", "sigma"),
            (page, "| `min_tokens_to_keep` |", "| `tokens_to_keep` |", "has no min_tokens_to_keep"),
            (header, "kScalarParams[] = {", "kScalarParams[] = {};", "was not found"),
        ]:
            with self.subTest(file=file, new=new):
                problems = self.problems(file, old, new)
                self.assertTrue(any(found in problem for problem in problems), problems)


class IncludesTest(Tree):
    def test_accepts_what_the_direction_allows(self):
        self.write("sampler/a.h", '#include <vector>\n#include "absl/status/status.h"\n')
        self.write("cuda/a.cc", '#include <cuda_runtime.h>\n#include "sampler/a.h"\n')
        self.write("server/a.cc", '#include <grpcpp/grpcpp.h>\n#include "token_sampler/v1/a.pb.h"\n')
        self.write("server/program/backend.cc", '#include "cuda/cuda_sampler.h"\n#include <sys/socket.h>\n')
        self.write("server/batching/a.cc", '#include "sampler/a.h"\n')
        self.write("client/a.cc", '#include "client/usage/a.h"\n#include <nlohmann/json.hpp>\n')
        self.write("client/usage/a.cc", '#include "client/usage/a.h"\n#include <CLI/CLI.hpp>\n')
        self.write("client/b.cc", '#include "token_sampler/sampler_client.h"\n')
        self.assertEqual(check_includes.check(self.root), [])

    def test_rejects_every_include_against_the_direction(self):
        for path, header in [
            ("sampler/a.h", '"server/a.h"'),
            ("sampler/a.h", '"cuda/a.h"'),
            ("sampler/a.h", "<grpcpp/grpcpp.h>"),
            ("sampler/a.h", '"google/protobuf/message.h"'),
            ("sampler/a.h", "<cuda_runtime.h>"),
            ("sampler/a.h", "<spdlog/spdlog.h>"),
            ("sampler/a.h", '"a.h"'),
            ("cuda/a.cu", '"server/batching/a.h"'),
            ("cuda/a.cu", "<grpcpp/grpcpp.h>"),
            ("server/batching/a.cc", '"server/a.h"'),
            ("server/batching/a.cc", "<grpcpp/grpcpp.h>"),
            ("server/batching/a.cc", '"token_sampler/v1/a.pb.h"'),
            ("server/a.cc", '"cuda/cuda_sampler.h"'),
            ("server/a.cc", '"client/a.h"'),
            ("server/program/main.cc", '"cuda/device_buffer.h"'),
            ("client/a.cc", '"sampler/a.h"'),
            ("client/a.cc", '"server/a.h"'),
            ("client/a.cc", "<boost/any.hpp>"),
            ("client/usage/a.cc", '"client/wire/wire.h"'),
            ("client/usage/a.cc", '"server/a.h"'),
            ("sampler/a.h", '"client/usage/a.h"'),
            ("client/include/token_sampler/a.h", '"client/a.h"'),
            ("client/include/token_sampler/a.h", '"token_sampler/v1/a.pb.h"'),
            ("client/include/token_sampler/a.h", "<grpcpp/grpcpp.h>"),
            ("server/a.cc", '"token_sampler/sampler_client.h"'),
        ]:
            with self.subTest(path=path, header=header):
                self.write(path, f"#include <vector>\n  #  include {header}\n")
                errors = check_includes.check(self.root)
                (self.root / path).unlink()
                self.assertEqual(len(errors), 1)
                self.assertTrue(errors[0].startswith(f"{path}:2: "), errors[0])


class LayoutTest(Tree):
    def setUp(self):
        super().setUp()
        self.write("CMakeLists.txt", "add_subdirectory(sampler)\nadd_subdirectory(tests)\n")
        self.write("sampler/CMakeLists.txt", "SOURCES a.cc HEADERS a.h\n")
        self.write("sampler/a.cc", "")
        self.write("sampler/a.h", "")
        self.write("tests/CMakeLists.txt", "add_subdirectory(unit/sampler)\n")
        self.write("tests/unit/sampler/CMakeLists.txt", "foreach(name a_test)\n")
        self.write("tests/unit/sampler/a_test.cc", "")

    def test_accepts_a_tree_in_order(self):
        self.assertEqual(check_layout.check(self.root), [])

    def test_rejects_what_is_out_of_place(self):
        for path, what in [
            ("notes.md", "agreed entry"),
            ("sampler/b.cc", "names it"),
            ("sampler/b.h", "names it"),
            ("cuda/b.cu", "names it"),
            ("tests/unit/sampler/b_test.cc", "names it"),
            ("tests/unit/sampler/aa_test.cc", "names it"),
            ("tests/integration/b_test.py", "names it"),
            ("tests/integration/CMakeLists.txt", "names its folder"),
        ]:
            with self.subTest(path=path):
                self.write(path, "")
                errors = check_layout.check(self.root)
                (self.root / path).unlink()
                self.assertEqual(len(errors), 1, errors)
                self.assertIn(path, errors[0])
                self.assertIn(what, errors[0])


class TidyTest(Tree):
    def run_tidy(self, source):
        """The exit code and the output of check_tidy.py on one source file."""
        shutil.copy(HERE.parents[1] / ".clang-tidy", self.root)
        self.write("sampler/a.cc", source)
        file = (self.root / "sampler/a.cc").resolve()
        unit = {"directory": str(self.root), "file": str(file), "command": f"c++ -o a.o -c {file}"}
        self.write("compile_commands.json", json.dumps([unit]))
        run = subprocess.run(
            [sys.executable, HERE / "check_tidy.py", "--root", self.root, self.root],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        return run.returncode, run.stdout

    @unittest.skipUnless(shutil.which("clang-tidy"), "no clang-tidy")
    def test_rejects_findings_and_unguarded_access(self):
        code, output = self.run_tidy("int Zero() { return 0; }\n")
        self.assertEqual(code, 0, output)
        code, output = self.run_tidy("int* Null() { return 0; }\n")
        self.assertNotEqual(code, 0)
        self.assertIn("modernize-use-nullptr", output)
        code, output = self.run_tidy(
            'struct __attribute__((capability("mutex"))) Mutex {};\n'
            "struct S { Mutex m; int x __attribute__((guarded_by(m))); int Get() { return x; } };\n"
        )
        self.assertNotEqual(code, 0)
        self.assertIn("thread-safety", output)


class CompileCommandsTest(unittest.TestCase):
    def test_leaves_out_what_belongs_to_precompiled_headers(self):
        for command in [
            "c++ -DA -Winvalid-pch -include /b/cmake_pch.hxx -include own.h -o a.o -c a.cc",
            "clang++ -DA -Winvalid-pch -Xclang -include-pch -Xclang /b/cmake_pch.hxx.pch -Xclang "
            "-include -Xclang /b/cmake_pch.hxx -include own.h -o a.o -c a.cc",
        ]:
            words = command.split()
            self.assertEqual(
                compile_commands.without_precompiled(command),
                [words[0], "-DA", "-include", "own.h", "-o", "a.o", "-c", "a.cc"],
            )


class HeadersTest(Tree):
    def setUp(self):
        super().setUp()
        entry = {"directory": str(self.root), "file": str(self.root / "sampler/first.cc"),
                 "command": f"c++ -I{self.root} -o first.o -c sampler/first.cc"}  # fmt: skip
        self.write("build/compile_commands.json", json.dumps([entry]))
        self.write("sampler/first.h", "inline int First() { return 1; }\n")
        self.write("sampler/first.cc", '#include "sampler/first.h"\n')

    def check(self):
        return subprocess.run(
            [sys.executable, HERE / "check_headers.py", self.root, self.root / "build"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip

    def test_accepts_headers_that_compile_alone(self):
        self.write("sampler/second.h", '#include "sampler/first.h"\nint Second(int = First());\n')
        run = self.check()
        self.assertEqual(run.returncode, 0, run.stdout)
        self.assertIn("2 headers, 1 checked here", run.stdout)

    def test_rejects_a_header_that_needs_what_another_includes(self):
        needy = "int Second(int = First());\n"
        self.write("sampler/second.h", needy)
        self.write("sampler/second.cc", '#include "sampler/first.h"\n#include "sampler/second.h"\n')
        run = self.check()
        self.assertNotEqual(run.returncode, 0)
        self.assertIn("second.h", run.stdout)


    def test_remembers_what_passed_until_an_included_header_changes(self):
        self.write("sampler/second.h", '#include "sampler/first.h"\nint Second(int = First());\n')
        self.assertEqual(self.check().returncode, 0)
        (self.root / "sampler/first.h").write_text("#error changed\n")
        self.assertNotEqual(self.check().returncode, 0)


class PassedChecksTest(Tree):
    def key(self, root, *words):
        passed.read.cache_clear()
        checks = passed.PassedChecks("test", root, "release 1")
        return checks.key(root / "sampler/a.cc", root / "build", ["c++", f"-I{root}", *words])

    def copy(self, name, header="int a;\n"):
        root = self.root / name
        (root / "sampler").mkdir(parents=True)
        (root / "sampler/a.cc").write_text('#include <vector>\n#include "sampler/b.h"\n')
        (root / "sampler/b.h").write_text('#include "sampler/c.h"\n')
        (root / "sampler/c.h").write_text(header)
        return root

    def test_a_check_is_the_same_in_another_clone_only_if_all_that_it_reads_is(self):
        key = self.key(self.copy("first"))
        self.assertEqual(self.key(self.copy("second")), key)
        self.assertNotEqual(self.key(self.copy("third", "int b;\n")), key)
        self.assertNotEqual(self.key(self.root / "second", "-DA"), key)

    def test_only_what_passed_is_remembered(self):
        checks = passed.PassedChecks("test", self.root)
        self.assertNotIn("a", checks)
        checks.add("a")
        self.assertIn("a", passed.PassedChecks("test", self.root))
        self.assertNotIn("b", checks)
        self.assertNotIn("a", passed.PassedChecks("other", self.root))


class KernelsTest(Tree):
    def check(self, output):
        """Runs check_kernels.py with an assembler that prints `output` for every file."""
        self.write("nvcc", f"#!/bin/sh\ncat <<'END'\n{output}END\n")
        (self.root / "nvcc").chmod(0o755)
        self.write("cuda/a.cu", "")
        entry = {"directory": str(self.root), "file": str(self.root / "cuda/a.cu"),
                 "command": f"{self.root}/nvcc -c cuda/a.cu -o a.o"}  # fmt: skip
        self.write("compile_commands.json", json.dumps([entry]))
        return subprocess.run(
            [sys.executable, HERE / "check_kernels.py", self.root],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip

    @staticmethod
    def kernel(stores, loads):
        return (
            "ptxas info    : Compiling entry function '_Z3RunPi' for 'sm_90'\n"
            "ptxas info    : Function properties for _Z3RunPi\n"
            f"    0 bytes stack frame, {stores} bytes spill stores, {loads} bytes spill loads\n"
            "ptxas info    : Used 40 registers, used 1 barriers, 16 bytes smem\n"
        )

    def test_accepts_and_prints_a_kernel_without_spills(self):
        run = self.check(self.kernel(0, 0))
        self.assertEqual(run.returncode, 0, run.stdout)
        self.assertIn("Run sm_90: 40 registers, 0 bytes of stack, 0 bytes spilled, 16 bytes",
                      run.stdout)  # fmt: skip

    def test_accepts_few_bytes_of_spills(self):
        self.assertEqual(self.check(self.kernel(40, 40)).returncode, 0)

    def test_rejects_a_spill_and_the_absence_of_kernels(self):
        for output in [self.kernel(136, 0), self.kernel(0, 136), self.kernel(0, 0) + self.kernel(68, 68),
                       "ptxas info    : 0 bytes gmem\n"]:  # fmt: skip
            with self.subTest(output=output):
                self.assertNotEqual(self.check(output).returncode, 0)


class KernelCoverageTest(Tree):
    def gaps(self, regions, branches):
        self.write("cuda/a.cu", "int Run(int a) {\n  return a > 1 ? 2 : 3;\n}\n")
        self.write("sampler/a.h", "int Other();\n")
        functions = [
            {"filenames": [str(self.root / name)], "regions": regions, "branches": branches}
            for name in ("cuda/a.cu", "sampler/a.h")
        ]
        return check_kernel_coverage.gaps(functions, self.root)

    def test_accepts_what_is_reached(self):
        found, functions = self.gaps([[1, 16, 3, 2, 9, 0, 0, 0]], [[2, 10, 2, 15, 4, 5, 0, 0, 4]])
        self.assertEqual((found, functions), (set(), 1))

    def test_rejects_code_and_sides_of_branches_that_are_not_reached(self):
        found, _ = self.gaps([[2, 22, 2, 23, 0, 0, 0, 0]], [[2, 10, 2, 15, 4, 0, 0, 0, 4]])
        code = ("cuda/a.cu", 2, "3", "executed")
        branch = ("cuda/a.cu", 2, "a > 1", "false")
        self.assertEqual(found, {code, branch})
        self.assertEqual(len(check_kernel_coverage.check(found, {})), 2)
        allowed = {("cuda/a.cu", "3", "executed"): "", ("cuda/a.cu", "a > 1", "false"): ""}
        self.assertEqual(check_kernel_coverage.check(found, allowed), [])

    def test_rejects_an_allowance_that_nothing_needs(self):
        errors = check_kernel_coverage.check(set(), {("cuda/a.cu", "3", "executed"): ""})
        self.assertEqual(len(errors), 1)


class ScriptsTest(Tree):
    @unittest.skipUnless(shutil.which("shellcheck"), "no shellcheck")
    def test_rejects_an_unquoted_expansion(self):
        self.write("deploy/a.sh", "#!/bin/sh\nrm $1\n")
        code, output = self.run_script("check_scripts.sh")
        self.assertNotEqual(code, 0)
        self.assertIn("SC2086", output)

    @unittest.skipUnless(shutil.which("clang-format"), "no clang-format")
    def test_rejects_what_clang_format_would_change(self):
        self.write("sampler/a.h", "int  a ;\n")
        code, output = self.run_script("check_format.sh")
        if code == 77:
            self.skipTest(output)
        self.assertNotEqual(code, 0)
        self.assertIn("sampler/a.h:1", output)


if __name__ == "__main__":
    unittest.main()

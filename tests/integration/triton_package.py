"""Triton's Python packages, for the tests that need one."""

import pathlib
import subprocess
import sys


def install(program):
    """The path that install-triton.sh prints. Without one, ends the test as skipped (77), or as
    failed if CI=true."""
    script = pathlib.Path(__file__).resolve().with_name("install-triton.sh")
    run = subprocess.run([script, program], stdout=subprocess.PIPE, text=True, check=False)
    if run.returncode != 0:
        sys.exit(run.returncode)
    return run.stdout.strip()

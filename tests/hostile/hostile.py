#!/usr/bin/env python3
"""Runs attacks against a server and prints what became of it. Usage: see run.sh"""

import argparse
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# The parts of the polite client's bound: three times its p99 beside a process that only computes,
# a slice of the server's, and what the attacker itself takes of a machine with two cores.
TIMES_ALONE = 3
SLICE_MS = 2.0
ALLOWANCE_MS = 20.0
SHORT_ALLOWANCE_MS = 500.0  # of the short form, which shares the machine with other tests
AFTER_MIB = 512.0  # what may stay resident once all clients have gone,
AFTER_SECONDS = 5.0  # after so long: the server gives back what stays free for a second or two
MOST_THREADS = 256
GRACE_SECONDS = 40.0  # for attackers, which take what they need to begin and to end
SHORT_SECONDS = 1.0
SHORT_JOBS = 2  # at once: memory and answers do not mind
LONG = 6  # times as long


@dataclasses.dataclass
class Result:
    """What was measured, and each bound that does not hold, in words."""

    name: str
    sent: int = 0
    start_mib: float = 0
    peak_mib: float = 0
    after_mib: float = 0
    cpu_seconds: float = 0
    threads: int = 0
    polite: dict[str, Any] = dataclasses.field(default_factory=dict)
    codes: dict[str, int] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)
    stop_seconds: float = 0
    failures: list[str] = dataclasses.field(default_factory=list)


def python(script: str, *arguments: object) -> list[str]:
    return [sys.executable, "-B", str(HERE / script), *map(str, arguments)]


class PoliteClient:
    def __init__(self, address: str) -> None:
        self.process = subprocess.Popen(
            python("polite.py", address), stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError("the polite client did not start")

    def end(self) -> dict[str, Any]:
        self.process.send_signal(signal.SIGTERM)
        try:
            printed = self.process.communicate(timeout=30)[0]
            report: dict[str, Any] = json.loads(printed)
            return report
        except (subprocess.TimeoutExpired, ValueError):
            self.process.kill()
            return {"calls": 0, "p50": 0.0, "p99": 0.0, "max": 0.0, "failures": {"hung": 1}}


def p99_beside_arithmetic(binary: str, seconds: float) -> float:
    """The polite client's p99 beside a process that computes and sends nothing."""
    from server_process import Server

    server = Server(binary, [])
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        polite = PoliteClient(server.address)
        time.sleep(seconds)
        return float(polite.end()["p99"])
    finally:
        busy.kill()
        busy.wait()
        server.remove()


def flag_names(binary: str) -> set[str]:
    shown = subprocess.run([binary, "--help"], stdout=subprocess.PIPE, text=True, check=True)
    return set(re.findall(r"--[a-z-]+", shown.stdout))


def run_attack(attack: Any, options: argparse.Namespace, bound_ms: float) -> Result:
    from attack import BUDGET_MIB
    from server_process import Server, is_serving

    seconds = attack.seconds
    if options.short:
        seconds = min(attack.seconds, SHORT_SECONDS)
    elif options.long:
        seconds *= LONG
    settle = 0.5 if options.short else AFTER_SECONDS
    flags = list(attack.flags)
    if "--memory-budget" in options.known_flags:
        flags.append(f"--memory-budget={BUDGET_MIB << 20}")
    result = Result(attack.name)
    failures = result.failures
    server = Server(options.server, flags, attack.descriptors, attack.stderr, options.most_mib)
    try:
        result.start_mib = server.resident_mib()
        polite = PoliteClient(server.address)
        cpu = server.cpu_seconds()
        attacker = subprocess.Popen(
            python("hostile.py", "--attacker", attack.name, "--address", server.address,
                   "--seconds", seconds, "--server", options.server),
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        stopped: tuple[float, int] | None = None
        if attack.stop_during:
            time.sleep(0.5 + seconds / 2)
            result.polite = polite.end()
            stopped = server.stop(attack.stop_seconds + 5)
        try:
            printed = attacker.communicate(timeout=seconds + GRACE_SECONDS)[0]
            report = json.loads(printed)
            result.sent, result.codes = report["sent"], report["codes"]
            result.notes = report["notes"]
            failures += report["failures"]
        except (subprocess.TimeoutExpired, ValueError):
            attacker.kill()
            attacker.wait()
            failures.append("the attacker itself failed or hung")
        if stopped is None:
            ended = time.monotonic()
            time.sleep(settle)
            result.polite = polite.end()
            result.cpu_seconds = server.cpu_seconds() - cpu
            # The short form waits only until the bound holds.
            while server.resident_mib() > AFTER_MIB and time.monotonic() < ended + AFTER_SECONDS:
                time.sleep(0.05)
            result.after_mib = server.resident_mib()
            if server.alive() and not is_serving(server.address, seconds=3.0):
                failures.append("a new connection gets no SERVING from health")
            alive = server.alive()
            stopped = server.stop(attack.stop_seconds + 5)
            if not alive and not server.killed_at_mib:
                failures.append(f"the server ended: exit code {server.process.returncode}")
        result.peak_mib = server.peak_mib()
        result.threads = server.most_threads
        result.stop_seconds = stopped[0]
        judge(attack, result, server.killed_at_mib, stopped[1], bound_ms)
    finally:
        server.remove()
    return result


def judge(attack: Any, result: Result, killed_at: int, exit_code: int, bound_ms: float) -> None:
    failures = result.failures
    if killed_at:
        failures.append(f"killed at {killed_at} MiB")
    else:
        if result.peak_mib > attack.peak_mib:
            failures.append(f"peak {result.peak_mib:.0f} MiB, at most {attack.peak_mib:.0f}")
        if result.after_mib > AFTER_MIB:
            failures.append(f"{result.after_mib:.0f} MiB stay, at most {AFTER_MIB:.0f}")
        if result.stop_seconds > attack.stop_seconds + 1:
            failures.append(f"SIGTERM: not within {attack.stop_seconds:.0f} s")
        elif exit_code != 0:
            failures.append(f"SIGTERM: exit code {exit_code}")
    if result.threads > MOST_THREADS:
        failures.append(f"{result.threads} threads, at most {MOST_THREADS}")
    if attack.fair and result.polite["p99"] > bound_ms:
        failures.append(f"polite p99 {result.polite['p99']:.0f} ms, at most {bound_ms:.0f}")
    if not attack.stop_during and result.polite["failures"]:
        failures.append(f"polite calls failed: {words(result.polite['failures'])}")
    wrong = {
        code: n for code, n in result.codes.items() if attack.codes and code not in attack.codes
    }
    if wrong:
        failures.append(f"answers: {words(wrong)}")


def words(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {code}" for code, count in sorted(counts.items()))


def columns(result: Result) -> list[str]:
    polite = result.polite

    def size(count: int) -> str:
        for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
            if count >= unit:
                return f"{count / unit:.3g} {name}"
        return f"{count} B"

    return [
        result.name,
        size(result.sent),
        f"{result.peak_mib:.0f}",
        f"{result.after_mib:.0f}",
        f"{result.cpu_seconds:.1f}",
        f"{result.threads}",
        f"{polite['p50']:.1f} / {polite['p99']:.0f} / {polite['max']:.0f}" if polite else "",
        f"{result.stop_seconds:.1f}",
        "; ".join([*dict.fromkeys(result.notes), words(result.codes)]).strip("; ")[:90],
        "; ".join(result.failures) or "ok",
    ]


HEADINGS = [
    "attack", "sent", "peak MiB", "MiB after", "CPU s", "threads",
    "polite p50 / p99 / max ms",
    "stop s", "answers", "verdict",
]  # fmt: skip


def table(results: list[Result]) -> str:
    rows = [HEADINGS, *map(columns, results)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(HEADINGS) - 1)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths)]
        lines.append("| " + " | ".join([*cells, row[-1]]) + " |")
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in [*widths, 7]) + "|")
    return "\n".join(lines)


def load_attacks() -> list[Any]:
    import attack
    import connection_attacks  # noqa: F401
    import lifecycle_attacks  # noqa: F401
    import memory_attacks  # noqa: F401
    import time_attacks  # noqa: F401

    return attack.ATTACKS


def be_attacker(options: argparse.Namespace) -> int:
    from attack import Target

    chosen = next(a for a in load_attacks() if a.name == options.attacker)
    target = Target(options.address, options.seconds, options.server)
    try:
        chosen.run(target)
    except OSError as error:
        target.notes.append(f"{type(error).__name__}: {error}")
    print(target.report(), flush=True)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--server", default=str(ROOT / "build/release/bin/token-sampler-server"))
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--most-mib", type=int, default=4096)
    parser.add_argument("--attacker")
    parser.add_argument("--address")
    parser.add_argument("--seconds", type=float)
    options = parser.parse_args()
    if options.attacker:
        return be_attacker(options)

    import messages

    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        messages.generate(str(ROOT / "proto"), folder)
        os.environ["PYTHONPATH"] = folder
        sys.path.insert(0, folder)
        code = run(options)
    return code


def is_due(attack: Any, short: bool) -> bool:
    return not short or (attack.holds and attack.short)


def run(options: argparse.Namespace) -> int:
    attacks = load_attacks()
    known = [attack.name for attack in attacks]
    if options.list:
        for attack in attacks:
            print(f"{attack.name:24} {'holds' if attack.holds else 'fails':6} {attack.what}")
        return 0
    if unknown := set(options.only) - set(known):
        print(f"no attack {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        return 2
    options.known_flags = flag_names(options.server)
    alone = p99_beside_arithmetic(options.server, 1 if options.short else 2)
    allowance = SHORT_ALLOWANCE_MS if options.short else ALLOWANCE_MS
    bound = TIMES_ALONE * alone + SLICE_MS + allowance

    def progress(text: str) -> None:
        if not options.table:
            print(text, flush=True)

    progress(f"The polite client alone: p99 {alone:.1f} ms; so beside an attacker {bound:.0f} ms.")

    def run_one(attack: Any) -> Result:
        try:
            result = run_attack(attack, options, bound)
        except RuntimeError as error:  # the server or the polite client did not start
            result = Result(attack.name, failures=[str(error)])
        progress(f"{attack.name}: {attack.what}\n    " + "; ".join(result.failures or ["ok"]))
        return result

    wanted = [
        attack
        for attack in attacks
        if (attack.name in options.only if options.only else is_due(attack, options.short))
    ]
    with concurrent.futures.ThreadPoolExecutor(SHORT_JOBS if options.short else 1) as pool:
        results = list(pool.map(run_one, wanted))
    progress("")
    print(table(results))
    stood = {result.name for result in results if not result.failures}
    expected = {attack.name for attack in attacks if attack.holds}
    ran = {result.name for result in results}
    print(f"\n{len(stood)} of {len(ran)} attacks stood.")
    if new := stood - expected:
        print(f"Stood for the first time, so that `holds` may be True: {', '.join(sorted(new))}")
    if lost := (ran & expected) - stood:
        print(f"Not stood any more: {', '.join(sorted(lost))}")
    return int(bool(lost))


if __name__ == "__main__":
    sys.exit(main())

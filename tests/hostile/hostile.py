#!/usr/bin/env python3
"""Runs attacks against a server and prints how it fared. Usage: see run.sh"""

import argparse
import concurrent.futures
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import attacker
import messages
import polite
from attack import BUDGET_MIB, Attack
from attacker import Child, PoliteClient
from judgement import IDLE_CORES, Measure, Result, judge, judge_rows, table
from server_process import Server, is_serving

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# The polite client's latency bound: three times its p99 beside a process that only computes, plus a
# slice of the server's time, plus what the attacker takes of a machine with two cores.
TIMES_ALONE = 3
SLICE_MS = 2.0
ALLOWANCE_MS = 20.0
SHORT_ALLOWANCE_MS = 500.0  # for the short form, which shares the machine with other tests
GRACE_SECONDS = 40.0  # for attackers to begin and to end
AFTER_SECONDS = 5.0  # until all that an attacker left must be gone
SHORT_SECONDS = 1.0
SHORT_JOBS = 3  # at a time: memory and answers do not depend on it
LONG = 6  # times as long,
LONG_SECONDS = 60.0  # but no longer
# A build with sanitizers has a shadow of its memory, keeps freed memory for a while, and is not
# optimised. It is judged by its survival, not by its speed: a slice of its time is no longer
# short, and the polite client's calls must only be answered.
TIMES_MEMORY_ASAN = 1.25
TIMES_CPU_ASAN = 8.0


def p99_beside_arithmetic(options: argparse.Namespace, seconds: float) -> float:
    """The polite client's p99 beside a process that computes and sends nothing."""
    server = Server(options.server, [], sanitized=options.asan)
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        client = PoliteClient(server.address)
        time.sleep(seconds)
        return float(client.end()["p99"])
    finally:
        busy.kill()
        busy.wait()
        server.remove()


def flag_names(binary: str) -> set[str]:
    shown = subprocess.run([binary, "--help"], stdout=subprocess.PIPE, text=True, check=True)
    return set(re.findall(r"--[a-z-]+", shown.stdout))


def let_settle(server: Server, most_mib: float, short: bool) -> float:
    """Waits until the server has nothing more to do for an attacker who has gone; in the long form,
    always for as long as that may take. Returns how many cores it uses at the end."""
    until = time.monotonic() + AFTER_SECONDS
    while True:
        begin, cpu = time.monotonic(), server.cpu_seconds()
        time.sleep(0.2)
        now = time.monotonic()
        cores = (server.cpu_seconds() - cpu) / (now - begin)
        calm = cores < IDLE_CORES and server.resident_mib() < most_mib
        if now > until or (short and calm) or not server.alive():
            return cores


def run_attack(attack: Attack, options: argparse.Namespace, measure: Measure) -> Result:
    seconds = attack.seconds
    if options.short:
        seconds = min(attack.seconds, SHORT_SECONDS)
    elif options.long:
        seconds = min(LONG * seconds, LONG_SECONDS)
    flags = list(attack.flags)
    if "--memory-budget" in options.known_flags:
        flags.append(f"--memory-budget={BUDGET_MIB << 20}")
    result = Result(attack.name)
    failures = result.failures
    server = Server(options.server, flags, attack.descriptors, attack.stderr, options.most_mib,
                    options.asan)  # fmt: skip
    try:
        result.start_mib = server.resident_mib()
        client = PoliteClient(server.address)
        begin, cpu = time.monotonic(), server.cpu_seconds()
        child = Child(attacker.attack_once, attack.name, server.address, seconds, options.server,
                      options.asan, server.process.pid)  # fmt: skip
        stopped: tuple[float, int] | None = None
        if attack.stop_during:
            time.sleep(0.2 + seconds / 2)
            result.polite = client.end()
            stopped = server.stop(attack.stop_seconds + 5)
        report = child.receive(seconds + GRACE_SECONDS)
        child.end()
        result.attack_seconds = time.monotonic() - begin
        if report is None:
            failures.append("the attacker itself failed or hung")
        else:
            result.sent, result.codes = report["sent"], report["codes"]
            result.notes = report["notes"]
            failures += report["failures"]
            result.rows = report["rows"]
        if stopped is None:
            result.cores_after = let_settle(server, measure.after_mib(), options.short)
            result.polite = client.end()
            result.after_mib = server.resident_mib()
            if server.alive() and not is_serving(server.address, measure.serving_seconds()):
                failures.append("a new connection gets no SERVING from health")
            alive = server.alive()
            stopped = server.stop(attack.stop_seconds + 5)
            if not alive and not server.killed_at_mib:
                failures.append(f"the server ended: exit code {server.process.returncode}")
        result.watched_seconds = time.monotonic() - begin
        result.cpu_seconds = server.cpu_seconds() - cpu
        result.peak_mib = server.peak_mib()
        result.threads = server.most_threads
        result.killed_at_mib = server.killed_at_mib
        result.stop_seconds, result.exit_code = stopped
        failures += server.sanitizer_reports()
        judge(attack, result, measure)
        if result.rows:
            judge_rows(result, server.log_text())
    finally:
        server.remove()
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--server", default=str(ROOT / "build/release/bin/token-sampler-server"))
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--asan", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--most-mib", type=int, default=4096)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        messages.generate(str(ROOT / "proto"), folder)
        sys.path.insert(0, folder)
        attacker.prepare(folder, str(HERE))
        return run(options)


def is_due(attack: Attack, options: argparse.Namespace) -> bool:
    if options.only:
        return attack.name in options.only
    return not options.short or (attack.holds and attack.short)


def run(options: argparse.Namespace) -> int:
    attacks = attacker.load_attacks()
    known = [attack.name for attack in attacks]
    if options.list:
        for attack in attacks:
            print(f"{attack.name:24} {'holds' if attack.holds else 'fails':6} {attack.what}")
        return 0
    if unknown := set(options.only) - set(known):
        print(f"no attack {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        return 2
    options.known_flags = flag_names(options.server)
    alone = p99_beside_arithmetic(options, 1 if options.short else 2)
    allowance = SHORT_ALLOWANCE_MS if options.short else ALLOWANCE_MS
    bound = TIMES_ALONE * alone + SLICE_MS + allowance
    measure = Measure(bound)
    if options.asan:
        bound = polite.CALL_SECONDS * 1000
        measure = Measure(bound, TIMES_MEMORY_ASAN, TIMES_CPU_ASAN)

    def progress(text: str) -> None:
        if not options.table:
            print(text, flush=True)

    progress(f"The polite client alone: p99 {alone:.1f} ms; so beside an attacker {bound:.0f} ms.")

    def run_one(attack: Attack) -> Result:
        begin = time.monotonic()
        try:
            result = run_attack(attack, options, measure)
        except RuntimeError as error:  # the server or the polite client did not start
            result = Result(attack.name, failures=[str(error)])
        seconds = time.monotonic() - begin
        verdict = "; ".join(result.failures or ["ok"])
        progress(f"{attack.name}: {attack.what}\n    {verdict} ({seconds:.1f} s)")
        return result

    wanted = [attack for attack in attacks if is_due(attack, options)]
    # Begin with the long ones, so that none of them runs alone at the end.
    wanted.sort(key=lambda attack: (not attack.stop_during, -attack.seconds))
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

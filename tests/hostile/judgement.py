"""Measures of what attacks do to servers, their bounds, and the table of results."""

import dataclasses
import re
from typing import Any

from attack import Attack

AFTER_MIB = 512.0  # most resident memory once all clients have gone
SERVING_SECONDS = 3.0  # until a new connection must be served after an attack
STOP_SLACK_SECONDS = 1.0  # for a server that ends when its drain time does
MOST_THREADS = 256
POLITE_CORES = 0.1  # most that the polite client makes the server use
LEAST_USEFUL = 0.9  # least part of the sampled rows that must be in time under overload
IDLE_CORES = 0.5  # below this a server has nothing more to do for an attacker who has gone


@dataclasses.dataclass
class Result:
    """The measurements, and each bound that does not hold, in words."""

    name: str
    sent: int = 0
    start_mib: float = 0
    peak_mib: float = 0
    after_mib: float = 0
    cpu_seconds: float = 0
    cores_after: float = 0  # used after the attacker had been gone for a while
    attack_seconds: float = 0  # how long the attacker was at work
    watched_seconds: float = 0  # and how long processor time was counted
    threads: int = 0
    polite: dict[str, Any] = dataclasses.field(default_factory=dict)
    codes: dict[str, int] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)
    rows: dict[str, int] = dataclasses.field(default_factory=dict)  # as in Target
    killed_at_mib: int = 0
    stop_seconds: float = 0
    exit_code: int = 0
    failures: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Measure:
    """How the bounds of attacks apply to this build and machine."""

    polite_ms: float  # the polite client's p99
    times_memory: float = 1.0  # for a build that takes more, and
    times_cpu: float = 1.0  # is slower

    def serving_seconds(self) -> float:
        return self.times_cpu * SERVING_SECONDS

    def after_mib(self) -> float:
        return self.times_memory * AFTER_MIB

    def peak_mib(self, attack: Attack) -> float:
        return self.times_memory * attack.peak_mib

    def cpu_seconds(self, attack: Attack, result: Result) -> float:
        asked = attack.cpu_seconds + attack.cores * result.attack_seconds
        return self.times_cpu * (asked + POLITE_CORES * result.watched_seconds)


def judge(attack: Attack, result: Result, measure: Measure) -> None:
    """Adds to the failures each bound that does not hold."""
    failures = result.failures
    after, peak = measure.after_mib(), measure.peak_mib(attack)
    cpu = measure.cpu_seconds(attack, result)
    if result.killed_at_mib:
        failures.append(f"killed at {result.killed_at_mib} MiB")
    else:
        if result.peak_mib > peak:
            failures.append(f"peak {result.peak_mib:.0f} MiB, at most {peak:.0f}")
        if result.after_mib > after:
            failures.append(f"{result.after_mib:.0f} MiB stay, at most {after:.0f}")
        if result.stop_seconds > attack.stop_seconds + measure.times_cpu * STOP_SLACK_SECONDS:
            failures.append(f"SIGTERM: not within {attack.stop_seconds:.0f} s")
        elif result.exit_code != 0:
            failures.append(f"SIGTERM: exit code {result.exit_code}")
    if result.cpu_seconds > cpu:
        failures.append(f"{result.cpu_seconds:.1f} s of the processor, at most {cpu:.1f}")
    if result.cores_after > IDLE_CORES:
        failures.append(f"uses {result.cores_after:.1f} cores after the attack")
    if result.threads > MOST_THREADS:
        failures.append(f"{result.threads} threads, at most {MOST_THREADS}")
    if attack.fair and result.polite["p99"] > measure.polite_ms:
        failures.append(
            f"polite p99 {result.polite['p99']:.0f} ms, at most {measure.polite_ms:.0f}"
        )
    if not attack.stop_during and result.polite["failures"]:
        failures.append(f"polite calls failed: {words(result.polite['failures'])}")
    wrong = {
        code: n for code, n in result.codes.items() if attack.codes and code not in attack.codes
    }
    if wrong:
        failures.append(f"answers: {words(wrong)}")


def judge_rows(result: Result, log: str) -> None:
    """Judges the part of the rows sampled for too many callers that came in time."""
    counted = re.search(r"stopped after ([\d,]+) rows", log)
    if counted is None:
        result.failures.append("the server did not log how many rows it sampled")
        return
    of_others = result.polite["calls"] + result.rows["few"]
    sampled = int(counted.group(1).replace(",", "")) - of_others
    useful = result.rows["many"] / max(1, sampled)
    result.notes.append(f"{useful:.2f} of the rows of use")
    if useful < LEAST_USEFUL:
        result.failures.append(f"{useful:.2f} of the rows of use, at least {LEAST_USEFUL}")


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
        "; ".join([*dict.fromkeys(result.notes), words(result.codes)]).strip("; ")[:160],
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

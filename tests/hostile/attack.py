"""The type of an attack, and the list of all attacks."""

import collections
import dataclasses
import os
import time
from collections.abc import Callable
from typing import Any

BUDGET_MIB = 1024
# The codes by which a server may refuse requests that ask for too much.
REFUSED = ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED", "UNAVAILABLE")

# The cores that a server may use for an attack of honest work: all, while the attack goes on.
ALL_CORES = float(len(os.sched_getaffinity(0)))


class Target:
    """The server as its attacker sees it. The attacker notes what the server answered."""

    def __init__(
        self, address: str, seconds: float, binary: str = "", sanitized: bool = False, pid: int = 0
    ) -> None:
        self.address = address
        # For attacks that start servers of their own.
        self.binary = binary
        self.sanitized = sanitized
        self.pid = pid  # of the server
        self.seconds = seconds
        self.until = time.monotonic() + seconds
        self.sent = 0
        self.codes: collections.Counter[str] = collections.Counter()
        self.failures: list[str] = []
        self.notes: list[str] = []
        # Rows answered in time, if that is measured: to few callers, and to too many.
        self.rows: dict[str, int] = {}

    def time_left(self) -> float:
        return max(0.0, self.until - time.monotonic())

    def check(self, condition: bool, claim: str) -> None:
        """Fails the attack if the claim does not hold."""
        if not condition:
            self.failures.append(claim)

    def report(self) -> dict[str, Any]:
        return {
            "sent": self.sent,
            "codes": dict(self.codes),
            "failures": self.failures,
            "notes": self.notes,
            "rows": self.rows,
        }


@dataclasses.dataclass(frozen=True)
class Attack:
    """One row of the table."""

    name: str
    what: str  # in a few words
    run: Callable[[Target], None]
    holds: bool  # whether the server withstands it; if not, the short form leaves it out
    seconds: float = 5.0  # how long the attacker goes on, if it has no end of its own
    peak_mib: float = 1.1 * BUDGET_MIB  # bound of the server's resident memory
    # Bounds of the server's processor time: seconds, and cores while the attacker is at work.
    # Afterwards it has no reason to use any.
    cpu_seconds: float = 1.0
    cores: float = 0.2
    flags: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()  # codes that calls may end with; none: any
    descriptors: int = 0  # RLIMIT_NOFILE of the server
    stderr: str = "file"
    stop_during: bool = False  # SIGTERM while the attacker is at work
    stop_seconds: float = 10.0  # bound of the time that SIGTERM takes: the drain timeout
    short: bool = True  # whether the short form runs it; not if judging it takes seconds
    fair: bool = True  # whether the polite client's latency is bounded


ATTACKS: list[Attack] = []


def attack(what: str, holds: bool, **fields: object) -> Callable[..., Callable[[Target], None]]:
    """Adds a function to the list. The attack's name is the function's."""

    def add(run: Callable[[Target], None]) -> Callable[[Target], None]:
        ATTACKS.append(Attack(run.__name__, what, run, holds, **fields))  # type: ignore[arg-type]
        return run

    return add

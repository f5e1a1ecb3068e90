"""Attackers and polite clients as processes of their own.

They are forked from a process that has imported the modules, because a new interpreter would take
as long for that as some attacks take. A process returns its findings through a pipe.
"""

import multiprocessing
import os
from multiprocessing.connection import Connection
from typing import Any

import polite
from attack import ATTACKS, Attack, Target

FORKS = multiprocessing.get_context("forkserver")
MODULES = (
    "connection_attacks",
    "lifecycle_attacks",
    "memory_attacks",
    "protocol_attacks",
    "region_attacks",
    "startup_attacks",
    "time_attacks",
)
READY_SECONDS = 30


def prepare(*folders: str) -> None:
    """Call it before the first process starts. Modules are imported from `folders`."""
    # The forked process looks there instead of in sys.path.
    os.environ["PYTHONPATH"] = os.pathsep.join(folders)
    FORKS.set_forkserver_preload(["attacker", *MODULES])


def load_attacks() -> list[Attack]:
    for module in MODULES:
        __import__(module)
    return ATTACKS


class Child:
    """A process that sends its findings through a pipe."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self._pipe, theirs = FORKS.Pipe(duplex=False)
        self._process = FORKS.Process(target=function, args=(theirs, *arguments), daemon=True)
        self._process.start()
        theirs.close()

    def receive(self, seconds: float) -> Any:
        """The next finding; None if none comes in time, or the process has ended."""
        try:
            return self._pipe.recv() if self._pipe.poll(seconds) else None
        except EOFError:
            return None

    def terminate(self) -> None:
        self._process.terminate()

    def end(self) -> None:
        """Kills the process unless it has ended."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def attack_once(
    pipe: Connection,
    name: str,
    address: str,
    seconds: float,
    binary: str,
    sanitized: bool,
    pid: int,
) -> None:
    chosen = next(attack for attack in load_attacks() if attack.name == name)
    target = Target(address, seconds, binary, sanitized, pid)
    try:
        chosen.run(target)
    except OSError as error:
        target.notes.append(f"{type(error).__name__}: {error}")
    pipe.send(target.report())


class PoliteClient:
    def __init__(self, address: str) -> None:
        self._child = Child(polite.be_polite, address)
        if self._child.receive(READY_SECONDS) != "ready":
            self._child.end()
            raise RuntimeError("the polite client did not start")

    def end(self) -> dict[str, Any]:
        self._child.terminate()
        report = self._child.receive(30)
        self._child.end()
        return report or {"calls": 0, "p50": 0.0, "p99": 0.0, "max": 0.0, "failures": {"hung": 1}}

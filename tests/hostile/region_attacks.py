"""Attacks on the shared memory of others."""

import os
import pickle
from collections.abc import Callable
from typing import Any

import h2
import messages
from attack import ALL_CORES, Target, attack
from memory_attacks import NOBODY, REGIONS, connected

VOCAB = 2048
# The same path in the process that starts servers and in those of attackers, which import this
# file again.
SOCKET = os.environ.setdefault("HOSTILE_REGIONS_SOCKET", f"/tmp/hostile-regions-{os.getpid()}")
UNREGISTER_ALL = messages.KSERVE + "SystemSharedMemoryUnregister"


def as_nobody(work: Callable[[], Any]) -> Any:
    """Runs the work in a process of another user, and returns its result."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.write(writes, pickle.dumps(work()))
        finally:
            os._exit(0)
    os.close(writes)
    with os.fdopen(reads, "rb") as pipe:
        found = pipe.read()
    os.waitpid(child, 0)
    return pickle.loads(found) if found else None


def is_root(target: Target) -> bool:
    if os.geteuid() != 0:
        target.notes.append("only root can be two users")
    return os.geteuid() == 0


@attack("another user's regions, sampled and unregistered", holds=True,
        flags=(*REGIONS, f"--listen=unix:{SOCKET}", "--socket-mode=0777"))  # fmt: skip
def regions_of_others(target: Target) -> None:
    """An attacker knows the names of his own regions and guesses the others. The owner is a user of
    the Unix socket, where the server can tell users apart."""
    if not is_root(target):
        return
    sampled = messages.sample(messages.in_region("mine", 1, VOCAB))

    def attacker(address: str) -> dict[str, str | None]:
        connection = h2.Connection(address)
        unregister = messages.serialized(messages.message("UnregisterRegionRequest", name="mine"))
        return {
            "sampling": connection.call(messages.SAMPLE, sampled).code,
            "unregistering": connection.call(messages.UNREGISTER, unregister).code,
            "unregistering all": connection.call(UNREGISTER_ALL, b"").code,
        }

    def attackers() -> dict[str, str | None]:
        found = {f"{what} by TCP": code for what, code in attacker(target.address).items()}
        found |= attacker(f"unix:{SOCKET}")
        connection = h2.Connection(f"unix:{SOCKET}")
        found["registering"] = connection.call(messages.REGISTER, shared.register("again")).code
        return found

    with messages.SharedObject(2 * VOCAB) as shared:
        os.chmod(shared.path, 0o600)
        connection = h2.Connection(f"unix:{SOCKET}")
        code = connection.call(messages.REGISTER, shared.register("mine")).code
        target.check(code == "OK", f"registering one's own: {code}")
        found = as_nobody(attackers)
        target.check(found is not None, "the other user's process failed")
        for what, code in (found or {}).items():
            # This client has no regions: it may unregister all of them.
            allowed = code != "OK" or what.startswith("unregistering all")
            target.check(allowed, f"another user's {what}: {code}")
        code = connection.call(messages.SAMPLE, sampled).code
        target.check(code == "OK", f"sampling one's own afterwards: {code}")


@attack("objects that their owner lets nobody read, a server of root's", holds=True, flags=REGIONS,
        codes=("OK", "PERMISSION_DENIED"))  # fmt: skip
def private_objects(target: Target) -> None:
    """A server that root runs opens for nobody an object that only its owner, or his group, may
    read."""
    if not is_root(target):
        return
    with messages.SharedObject(2 * VOCAB) as shared, connected(target) as connection:
        os.chown(shared.path, NOBODY, NOBODY)
        for mode, expected in (
            (0o600, "PERMISSION_DENIED"), (0o660, "PERMISSION_DENIED"), (0o000, "PERMISSION_DENIED"),
            (0o622, "PERMISSION_DENIED"), (0o644, "OK"),
        ):  # fmt: skip
            os.chmod(shared.path, mode)
            name = f"mode-{mode:o}"
            code = connection.call(messages.REGISTER, shared.register(name)).code
            target.check(code == expected, f"{name}: {code}")


@attack("65 waiting calls of 16 MiB each in a region", holds=True, flags=REGIONS, cores=ALL_CORES,
        codes=("OK",))  # fmt: skip
def waiting_in_region(target: Target) -> None:
    """The queue's bound does not count rows that the server does not hold: it refuses none of a
    GiB."""
    rows, vocab = 64, 2**17
    request = messages.sample(messages.in_region("r", rows, vocab), messages.params())
    with messages.SharedObject(2 * rows * vocab) as shared, connected(target) as connection:
        # Write the rows, because the server reads holes in another way.
        with open(shared.path, "r+b") as file:
            file.write(bytes(shared.size))
        connection.call(messages.REGISTER, shared.register("r"))
        numbers = [connection.start(messages.SAMPLE, request) for _ in range(65)]
        for number in numbers:
            connection.finish(number, 30)

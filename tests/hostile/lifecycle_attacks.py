"""Attacks on the start, the end and the log of a server."""

import socket
import subprocess
import tempfile
import time

import h2
import messages
from attack import ALL_CORES, REFUSED, Target, attack
from memory_attacks import connected
from server_process import is_serving
from time_attacks import keep_in_flight


def half_closed(target: Target, calls: int) -> None:
    """Calls that end without a message. Once, each wrote an error to the log."""
    with connected(target) as connection:
        for _ in range(calls):
            if target.time_left() == 0:
                break
            number = connection.open(messages.SAMPLE, end=True)
            connection.finish(number, 5)


@attack("1,500 bad calls, standard error a pipe that nobody reads", holds=True, stderr="unread",
        codes=REFUSED)  # fmt: skip
def log_unread(target: Target) -> None:
    half_closed(target, 1500)


@attack("20 bad calls, standard error a closed pipe", holds=True, stderr="closed", codes=REFUSED)
def log_closed(target: Target) -> None:
    half_closed(target, 20)


@attack("1,500 bad calls, standard error closed from the start", holds=True, stderr="none",
        codes=REFUSED)  # fmt: skip
def log_none(target: Target) -> None:
    half_closed(target, 1500)


@attack("SIGTERM with 200 calls of 8 rows in flight", holds=True, stop_during=True, fair=False,
        codes=("OK", "UNAVAILABLE"), cores=ALL_CORES)  # fmt: skip
def stop_under_load(target: Target) -> None:
    """The server answers accepted calls, and refuses later ones with UNAVAILABLE, which clients
    retry."""
    request = messages.sample(messages.tensor(8, 32000), messages.params(top_p=0.9))
    keep_in_flight(target, messages.SAMPLE, request, 200, finish=True)
    target.check(target.codes["OK"] > 0, "no call was answered")


@attack("SIGTERM with a health watch and reflection open", holds=True, stop_during=True,
        stop_seconds=2, fair=False, codes=("OK", "UNAVAILABLE"))  # fmt: skip
def stop_with_streams(target: Target) -> None:
    with connected(target) as connection:
        for path, body in ((messages.HEALTH_WATCH, b""), (messages.REFLECTION, b"\x3a\x00")):
            number = connection.open(path)
            connection.send(number, h2.prefixed(body))
        # The server is told to stop during this.
        for number in list(connection.streams):
            connection.finish(number, target.seconds + 9)


@attack("SIGTERM while 8 calls of seconds are sampled", holds=True, stop_during=True, fair=False,
        flags=("--drain-timeout-ms=4000",), stop_seconds=4, cores=ALL_CORES,
        codes=("OK", "UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"))  # fmt: skip
def stop_while_sampling(target: Target) -> None:
    profile = messages.params(num_samples=2**22, replacement=True)
    outputs = messages.message("OutputOptions", ranks=True, rank_mode=2)
    request = messages.sample(messages.tensor(1, 2**22), profile, outputs=outputs)
    keep_in_flight(target, messages.SAMPLE, request, 8, finish=True)


@attack("two servers that start at once on a stale socket", holds=True, fair=False)
def stale_socket(target: Target) -> None:
    """One lives and serves; the other says why it cannot, and leaves the socket alone. This is
    repeated, because chance decides which wins."""
    while target.time_left() > 0 and not target.failures:
        with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
            start_two(target, f"{folder}/socket")


def start_two(target: Target, path: str) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    command = [target.binary, "--device=cpu", f"--listen=unix:{path}"]
    servers = [
        subprocess.Popen(command, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        for _ in range(2)
    ]
    until = time.monotonic() + 3
    while time.monotonic() < until and all(server.poll() is None for server in servers):
        time.sleep(0.02)
    living = [server for server in servers if server.poll() is None]
    target.check(len(living) == 1, f"{len(living)} servers live")
    for server in living[1:]:
        server.terminate()
        server.wait(20)
    if living:
        while not is_serving(f"unix:{path}") and time.monotonic() < until:
            time.sleep(0.05)
        target.check(is_serving(f"unix:{path}"), "nobody serves the socket any more")
        living[0].terminate()
        living[0].wait(20)

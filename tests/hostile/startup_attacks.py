"""Bad flags, address files and logs of a server, its operator's second signal, and IPv6 peers."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator

import h2
import messages
from attack import REFUSED, Target, attack
from server_process import Server, is_serving

ENDS_SECONDS = 20


@contextlib.contextmanager
def started(target: Target, *flags: str) -> Iterator[Server]:
    """A server that the attack starts itself."""
    server = Server(target.binary, list(flags), sanitized=target.sanitized)
    try:
        yield server
    finally:
        target.failures += server.sanitizer_reports()
        server.remove()


def starts(target: Target, *flags: str) -> tuple[int | None, str]:
    """The exit code and the log of a server that should not start; None if it runs on."""
    command = [target.binary, "--device=cpu", *flags]
    try:
        ended = subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, timeout=ENDS_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None, ""
    return ended.returncode, ended.stderr


@attack("ports, timeouts and modes beyond their range", holds=True, fair=False)
def flags_out_of_range(target: Target) -> None:
    """The server refuses them and names the flag. Once, it cut a port to 16 bits, and a drain
    timeout overflowed to none at all."""
    for flag in (
        "--listen=127.0.0.1:99999", "--listen=127.0.0.1:65536",
        "--drain-timeout-ms=9223372036854775807", "--drain-timeout-ms=18446744073709551616",
        "--drain-delay-ms=9223372036854775807", "--memory-budget=99999999999999999999",
        "--max-message-bytes=18446744073709551615", "--socket-mode=99999",
    ):  # fmt: skip
        code, log = starts(target, flag)
        target.check(code == 2, f"{flag}: exit code {code}")
        target.check(flag.split("=")[0] in log, f"{flag}: not named in {log!r}")


@attack("--address-file that names a FIFO, a socket, a link or a folder", holds=True, fair=False)
def address_file_is_special(target: Target) -> None:
    """The server exits and leaves the file as it was."""
    with (
        tempfile.TemporaryDirectory(prefix="hostile-") as name,
        socket.socket(socket.AF_UNIX) as bound,
    ):
        folder = pathlib.Path(name)
        os.mkfifo(folder / "fifo")
        bound.bind(str(folder / "socket"))
        (folder / "elsewhere").write_text("kept")
        (folder / "link").symlink_to(folder / "elsewhere")
        (folder / "folder").mkdir()
        for special in ("fifo", "socket", "link", "folder"):
            path = folder / special
            before = path.lstat()
            code, _ = starts(target, "--listen=127.0.0.1:0", f"--address-file={path}")
            target.check(code == 1, f"{special}: exit code {code}")
            same = path.lstat().st_ino == before.st_ino and path.lstat().st_mode == before.st_mode
            target.check(same, f"{special} was replaced")
        target.check((folder / "elsewhere").read_text() == "kept", "a link was followed")


@attack("9,000 refused calls, the log at debug", holds=True, codes=REFUSED)
def debug_log(target: Target) -> None:
    """The log has the number of lines that one reason repeats, not the lines."""
    with started(target, "--log-level=debug") as server:
        connection = h2.Connection(server.address)
        wrong = messages.sample(messages.tensor(1, 2, data=b""))
        for _ in range(90):
            if target.time_left() == 0:
                break
            numbers = [connection.start(messages.SAMPLE, wrong) for _ in range(100)]
            for number in numbers:
                connection.finish(number, 5)
        target.codes.update(connection.codes)
        connection.close()
        size = server.log.stat().st_size
        target.check(size < 1 << 18, f"{size} bytes of log")
        target.notes.append(f"{size} bytes of log")


@attack("a second SIGTERM while a call of minutes is sampled", holds=True, fair=False)
def second_signal(target: Target) -> None:
    """The first signal waits for the call, for an hour if need be; the second ends the server at
    once."""
    profile = messages.params(num_samples=2**22, replacement=True)
    outputs = messages.message("OutputOptions", ranks=True, rank_mode=2)
    request = messages.sample(messages.tensor(1, 2**22), profile, outputs=outputs)
    with (
        started(target, "--drain-timeout-ms=3600000") as server,
        contextlib.closing(h2.Connection(server.address)) as connection,
    ):
        connection.start(messages.SAMPLE, request)
        begin, cpu = time.monotonic(), server.cpu_seconds()
        while server.cpu_seconds() < cpu + 0.1 and time.monotonic() < begin + 10:
            connection.poll(0.02)
        server.process.send_signal(signal.SIGTERM)
        while not connection.going_away and time.monotonic() < begin + 20:
            connection.poll(0.02)
        target.check(connection.going_away, "no GOAWAY after the first signal")
        target.check(server.alive(), "the first signal ended it")
        server.process.send_signal(signal.SIGTERM)
        try:
            code = server.process.wait(2)
        except subprocess.TimeoutExpired:
            target.check(False, "the second signal did not end it in 2 s")
        else:
            target.check(code == 128 + signal.SIGTERM, f"exit code {code}")


def connect(target: Target, address: tuple[str, int], count: int) -> list[h2.Connection]:
    """Opens that many connections; returns those that get SERVING from health."""
    host, port = address
    named = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    made = []
    for _ in range(count):
        try:
            connection = h2.Connection(named)
            code = connection.call(messages.HEALTH_CHECK, b"", seconds=5).code
        except (h2.Closed, OSError):
            continue
        if code == "OK":
            made.append(connection)
    return made


@attack("one peer by IPv6, and by IPv4 at an IPv6 address", holds=True, fair=False)
def ipv6_peers(target: Target) -> None:
    """A peer of `::` that has as many connections as it may gets no more. An IPv4 address is the same
    peer there as at an IPv4 listener, and another than `::1`."""
    flags = ("--listen=[::]:0", "--max-connections-per-peer=8")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        target.notes.append("no IPv6 here")
        return
    with started(target, *flags) as server:
        ports = [int(line.rsplit(":", 1)[1]) for line in server.addresses()]
        sixth = connect(target, ("::1", ports[1]), 12)
        target.check(len(sixth) == 8, f"{len(sixth)} connections from ::1, of 8 that it may have")
        mapped = connect(target, ("127.0.0.1", ports[1]), 5)
        target.check(len(mapped) == 5, f"{len(mapped)} of 5 connections from 127.0.0.1")
        fourth = connect(target, ("127.0.0.1", ports[0]), 12)
        target.check(len(fourth) == 3, f"{len(fourth)} more by IPv4, of 3 that are left")
        for connection in [*sixth, *mapped, *fourth]:
            connection.close()
        target.check(is_serving(server.address, 3), "nobody is let in when they have gone")

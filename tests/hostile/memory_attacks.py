"""Attacks on memory: messages that grow when they are read, and answers that nobody reads."""

import contextlib
import os
import struct
import time
import zlib
from collections.abc import Iterator

import h2
import messages
from attack import ALL_CORES, REFUSED, Target, attack

MIB = 1 << 20
NOBODY = 65534
REGIONS = ("--shared-memory=system",)
GZIP = ("grpc-encoding", "gzip")


@contextlib.contextmanager
def connected(target: Target, **options: int) -> Iterator[h2.Connection]:
    """A connection that counts its bytes and codes for the target, which may close it at any
    time."""
    connection = h2.Connection(target.address, **options)  # type: ignore[arg-type]
    try:
        yield connection
    except h2.Closed as closed:
        target.notes.append(str(closed))
    finally:
        target.sent += connection.sent
        target.codes.update(connection.codes)
        connection.close()


def gzipped(piece: bytes, times: int) -> bytes:
    """`piece` repeated. Only one is compressed, because that takes seconds. It must have at least
    32 KiB for a good ratio."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    packed = packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)
    crc = 0
    for _ in range(times):
        crc = zlib.crc32(piece, crc)
    end = packer.flush() + struct.pack("<II", crc, len(piece) * times % 2**32)
    return b"\x1f\x8b\x08" + bytes(6) + b"\xff" + packed * times + end


def send_compressed(target: Target, path: str, packed: bytes) -> None:
    with connected(target) as connection:
        number = connection.open(path, GZIP)
        connection.send(number, h2.prefixed(packed, compressed=True), end=True)
        connection.finish(number, 25)


@attack("40 MB of empty params in 39 KB of gzip", holds=True, codes=REFUSED, peak_mib=256)
def gzip_params(target: Target) -> None:
    send_compressed(target, messages.SAMPLE, gzipped(b"\x1a\x00" * 512 * 1024, 40))


@attack("512 MiB of zeros in 0.5 MB of gzip", holds=True, codes=REFUSED, peak_mib=256)
def gzip_zeros(target: Target) -> None:
    send_compressed(target, messages.SAMPLE, gzipped(bytes(MIB), 512))


@attack("4 MB of empty messages, to each method", holds=True, codes=REFUSED, peak_mib=256)
def empty_messages(target: Target) -> None:
    field = messages.field
    many, model = 2 * MIB, field(1, b"sampler")
    for path, body in (
        (messages.SAMPLE, b"\x1a\x00" * many),  # params
        (messages.SAMPLE, b"\x3a\x00" * many),  # states
        (messages.VERIFY_DRAFT, b"\x3a\x00" * many),  # params
        (messages.DESCRIBE, field(1, b"\x1a\x00" * many)),  # request.params
        (messages.SAMPLE_STREAM, field(2, b"\x0a\x00" * many)),  # open.params
        (messages.SAMPLE_STREAM, field(2, b"\x12\x00" * many)),  # open.sequences
        (messages.MODEL_INFER, model + b"\x2a\x00" * many),  # inputs
        (messages.MODEL_INFER, model + b"\x32\x00" * many),  # outputs
        (messages.MODEL_INFER, model + b"\x3a\x00" * many),  # raw_input_contents
    ):
        with connected(target) as connection:
            stream = connection.call(path, body, seconds=25)
            if path == messages.SAMPLE_STREAM and stream.code == "OK":
                # This is the stream's own status. An error of a request is in its answer.
                connection.codes.clear()


@attack("40 answers of 60 MB that are not read", holds=True, flags=REGIONS, seconds=10,
        cores=ALL_CORES)  # fmt: skip
def unread_answers(target: Target) -> None:
    vocab = 2**23
    with (
        messages.SharedObject(2 * vocab) as shared,
        connected(target, window=16, credit=False) as connection,
    ):
        registered = connection.call(messages.REGISTER, shared.register("r"))
        target.check(registered.code == "OK", f"registering: {registered.code}")
        request = messages.sample(
            messages.in_region("r", 1, vocab),
            outputs=messages.message("OutputOptions", top_logprobs=vocab),
        )
        for _ in range(40):
            connection.start(messages.SAMPLE, request)
        while target.time_left() > 0:
            connection.poll(target.time_left())


@attack("10,000 small answers that are not read", holds=True, peak_mib=256)
def window_zero(target: Target) -> None:
    """Answers of 16 KiB over connections that let the server send one byte of each."""
    request = messages.sample(
        messages.tensor(1, 2048), outputs=messages.message("OutputOptions", top_logprobs=2048)
    )
    for _ in range(4):
        with connected(target, window=1, credit=False) as connection:
            for _ in range(2500):
                if connection.closed or target.time_left() == 0:
                    break
                connection.start(messages.SAMPLE, request)
            while not connection.closed and target.time_left() > target.seconds / 2:
                connection.poll(0.1)


@attack("200 answers of 15 MB on streams that are not read", holds=True, flags=REGIONS, seconds=10,
        cores=ALL_CORES)  # fmt: skip
def unread_stream_answers(target: Target) -> None:
    vocab = 2**21
    opened = messages.message("OpenSequences", vocab=vocab)
    opened.sequences.add(sequence_id=1)
    step = messages.message(
        "StepSequences", sequence_ids=[1],
        tensor=messages.in_region("r", 1, vocab),
        outputs=messages.message("OutputOptions", top_logprobs=vocab),
    )  # fmt: skip
    both = b"".join(
        h2.prefixed(messages.serialized(messages.message("SampleStreamRequest", **{kind: request})))
        for kind, request in (("open", opened), ("step", step))
    )
    with (
        messages.SharedObject(2 * vocab) as shared,
        connected(target, window=100, credit=False) as connection,
    ):
        connection.call(messages.REGISTER, shared.register("r"))
        for _ in range(200):
            connection.send(connection.open(messages.SAMPLE_STREAM), both)
        while target.time_left() > 0 and not connection.closed:
            connection.poll(target.time_left())


@attack("an answer of 350 MB, asked for in 34 bytes", holds=True, flags=REGIONS, codes=REFUSED)
def big_answer(target: Target) -> None:
    vocab = 2**24
    with messages.SharedObject(2 * vocab) as shared, connected(target) as connection:
        connection.call(messages.REGISTER, shared.register("r"))
        connection.codes.clear()
        outputs = messages.message(
            "OutputOptions", top_logprobs=vocab, kept_set=True, gumbel_softmax=1.0
        )
        request = messages.sample(messages.in_region("r", 1, vocab), outputs=outputs)
        connection.call(messages.SAMPLE, request, seconds=25)


@attack("a length prefix of 4 GiB - 1, and 512 MiB behind it", holds=True, codes=REFUSED,
        peak_mib=700)  # fmt: skip
def length_prefix(target: Target) -> None:
    with connected(target) as connection:
        number = connection.open(messages.SAMPLE)
        connection.send(number, struct.pack(">BI", 0, 2**32 - 1))
        piece = bytes(MIB)
        for _ in range(512):
            connection.send(number, piece, seconds=10)
            if connection.streams[number].code is not None:
                break
        else:
            target.failures.append("512 MiB were taken")


@attack("48 messages of 32 MiB, each sent but for its last byte", holds=True, peak_mib=700)
def half_messages(target: Target) -> None:
    size = 32 * MIB
    piece = bytes(MIB)
    opened = []
    for _ in range(48):
        connection = h2.Connection(target.address)
        opened.append(connection)
        try:
            number = connection.open(messages.SAMPLE)
            connection.send(number, struct.pack(">BI", 0, size))
            for part in range(32):
                connection.send(number, piece[: MIB - 1] if part == 31 else piece, seconds=0.5)
        except (h2.Closed, OSError) as closed:
            target.notes.append(str(closed))
    time.sleep(0.5)
    for connection in opened:
        target.sent += connection.sent
        target.codes.update(connection.codes)
        connection.close()


@attack("10 waiting calls with histories of 48 MB each", holds=True, seconds=8, cores=ALL_CORES)
def waiting_histories(target: Target) -> None:
    """The calls wait behind one that keeps the sampler busy."""
    history = messages.message("Histories")
    history.output_ids.lengths.append(48_000_000)
    prefix = messages.sample(messages.tensor(1, 2), messages.params(frequency_penalty=1))
    # Histories, built by hand: a Python list of the ids would take gigabytes here.
    ids = messages.field(1, b"\x80\xd8\xf1\x16") + messages.field(2, bytes(48_000_000))
    request = prefix + messages.field(6, messages.field(2, ids))
    busy = messages.sample(messages.tensor(1, 2**22), messages.params(num_samples=2**22))
    with connected(target) as connection:
        numbers = [connection.start(messages.SAMPLE, busy)]
        numbers += [connection.start(messages.SAMPLE, request) for _ in range(10)]
        for number in numbers:
            connection.finish(number, target.time_left())


@attack("800 MB of sequences, opened and closed again", holds=True, short=False, cores=ALL_CORES)
def memory_returns(target: Target) -> None:
    """The bound is on the memory that stays after they have gone."""
    opened = messages.message("OpenSequences", vocab=2)
    opened.params.add(frequency_penalty=1.0, no_repeat_ngram_size=3)
    head = messages.serialized(opened)
    prompt = messages.field(6, bytes(500_000))  # by hand: a list of the ids takes Python seconds
    with connected(target) as connection:
        for _ in range(4):
            number = connection.open(messages.SAMPLE_STREAM)
            for sequence in range(100):
                one = head + messages.field(2, bytes([0x08, sequence]) + prompt)
                connection.send(number, h2.prefixed(messages.field(2, one)))
        time.sleep(0.5)
        target.notes.append(f"{sum(s.received > 0 for s in connection.streams.values())} streams")


@attack("a region of 8 TiB of holes, and 1 GiB of them sampled", holds=True, flags=REGIONS,
        peak_mib=256)  # fmt: skip
def sparse_region(target: Target) -> None:
    rows, vocab = 4096, 2**17
    with messages.SharedObject(1 << 43) as shared, connected(target) as connection:
        if connection.call(messages.REGISTER, shared.register("r", 1 << 43)).code != "OK":
            connection.call(messages.REGISTER, shared.register("r", 2 * rows * vocab))
        connection.call(
            messages.SAMPLE, messages.sample(messages.in_region("r", rows, vocab)), seconds=25
        )


def register_many(target: Target, shared: messages.SharedObject) -> list[h2.Connection]:
    """16 connections that have asked for 64 regions each."""
    taken = [h2.Connection(target.address) for _ in range(16)]
    for number, connection in enumerate(taken):
        for region in range(64):
            name = f"{number}-{region}"
            code = connection.call(messages.REGISTER, shared.register(name)).code
            target.codes[str(code)] += 1
    return taken


@attack("16 connections of 64 regions each; when they have gone, another user's", holds=True,
        flags=REGIONS)  # fmt: skip
def region_quota(target: Target) -> None:
    with messages.SharedObject(4096) as shared:
        taken = register_many(target, shared)
        for connection in taken:
            target.sent += connection.sent
            connection.close()
    time.sleep(0.2)
    with messages.SharedObject(4096, "polite") as shared, connected(target) as connection:
        if os.geteuid() == 0:
            os.chown(shared.path, NOBODY, NOBODY)
        code = connection.call(messages.REGISTER, shared.register("polite")).code
        target.check(code == "OK", f"registering afterwards: {code}")


@attack("1,000 regions at a limit of 1,024 descriptors; then a connection", holds=True,
        flags=REGIONS, descriptors=1024)  # fmt: skip
def region_descriptors(target: Target) -> None:
    with messages.SharedObject(4096) as shared:
        taken = register_many(target, shared)
        with connected(target) as connection:
            code = connection.call(messages.HEALTH_CHECK, b"", seconds=2).code
            target.check(code == "OK", f"a new connection meanwhile: {code}")
        for connection in taken:
            connection.close()

"""Attacks on time: calls of a few bytes that take seconds, and more calls than can be answered."""

import struct
import time

import h2
import messages
from attack import ALL_CORES, REFUSED, Target, attack
from memory_attacks import REGIONS, connected
from overload import few_and_many

# The codes of a long call that is stopped or refused.
STOPPED = (*REFUSED, "OK", "DEADLINE_EXCEEDED", "CANCELLED")


def call_once(target: Target, path: str, request: bytes) -> None:
    """A call that the caller gives up when its time is over, as clients do."""
    with connected(target) as connection:
        milliseconds = f"{int(1000 * target.seconds)}m"
        number = connection.start(path, request, ("grpc-timeout", milliseconds))
        connection.finish(number, target.time_left() + 0.5)


@attack("a step of 200 forks with DRY, each of a million tokens", holds=True, cores=ALL_CORES)
def stream_dry(target: Target) -> None:
    opened = messages.message("OpenSequences", vocab=2)
    opened.params.add().dry.multiplier = 1
    opened.sequences.add(sequence_id=0).prompt_ids.extend([1] * 1_000_000)
    requests = [messages.message("SampleStreamRequest", open=opened)]
    for fork in range(1, 200):
        requests.append(messages.message("SampleStreamRequest"))
        requests[-1].fork.sequence_id = 0
        requests[-1].fork.new_sequence_id = fork
    step = messages.message(
        "StepSequences", sequence_ids=range(200), tensor=messages.tensor(200, 2)
    )
    requests.append(messages.message("SampleStreamRequest", step=step))
    with connected(target) as connection:
        number = connection.open(messages.SAMPLE_STREAM)
        for request in requests:
            connection.send(number, h2.prefixed(request.SerializeToString()))
        stream = connection.streams[number]
        while target.time_left() > 0 and stream.code is None:
            connection.poll(target.time_left())
        # The client gives up, and so should the server.
        connection.write(h2.frame(h2.RST_STREAM, 0, number, struct.pack(">I", 8)))


@attack("2^23 draws without replacement of 33 MB", holds=True, codes=STOPPED, cores=ALL_CORES)
def many_draws(target: Target) -> None:
    values = messages.uneven(2**24)
    profile = messages.params(num_samples=2**23)
    outputs = messages.message("OutputOptions", logprobs=True)
    call_once(target, messages.SAMPLE, messages.sample(values, profile, outputs=outputs))


@attack("2^23 ranks of 2^24 equal logits, in a region", holds=True, flags=REGIONS,
        codes=STOPPED, cores=ALL_CORES)  # fmt: skip
def many_ranks(target: Target) -> None:
    vocab = 2**24
    with messages.SharedObject(2 * vocab) as shared:
        with connected(target) as connection:
            connection.call(messages.REGISTER, shared.register("r"))
        profile = messages.params(num_samples=2**23, replacement=True)
        outputs = messages.message("OutputOptions", ranks=True, rank_mode=2)
        request = messages.sample(messages.in_region("r", 1, vocab), profile, outputs=outputs)
        call_once(target, messages.SAMPLE, request)


@attack("10 million banned ids for 4,096 rows", holds=True, codes=STOPPED)
def many_bans(target: Target) -> None:
    # By hand, because Python takes seconds for a list of that many.
    banned = b"\xca\x02" + messages.field(1, bytes(10**7))[1:]
    request = messages.sample(messages.tensor(4096, 2)) + messages.field(3, banned)
    call_once(target, messages.SAMPLE, request)


@attack("Describe of 2^24 logits with every filter", holds=True, codes=STOPPED)
def long_describe(target: Target) -> None:
    profile = messages.params(temperature=0.9, top_k=2**23, top_p=0.9, min_p=1e-9, typical_p=0.9)
    inner = messages.sample(messages.uneven(2**24), profile)
    call_once(target, messages.DESCRIBE, messages.field(1, inner))


@attack("DRY over a history of 20 million tokens", holds=True, codes=STOPPED)
def long_dry(target: Target) -> None:
    profile = messages.params()
    profile.dry.multiplier = 1
    ids = messages.field(1, b"\x80\xda\xc4\x09") + messages.field(2, bytes(20_000_000))
    request = messages.sample(messages.tensor(1, 2), profile)
    call_once(target, messages.SAMPLE, request + messages.field(6, messages.field(2, ids)))


@attack("a draft of 4,095 tokens with DRY", holds=True, codes=STOPPED)
def long_draft(target: Target) -> None:
    profile = messages.params(temperature=0)
    profile.dry.multiplier, profile.dry.base = 1e-6, 1
    # Draft the likeliest token, so that all are accepted.
    rows = messages.tensor(4096, 2, data=struct.pack("<2e", 1000, 0) * 4096)
    request = messages.message(
        "VerifyDraftRequest", target=rows, draft_lengths=[4095],
        draft_token_ids=[0] * 4095, params=[profile],
    )  # fmt: skip
    request.histories.output_ids.lengths.append(0)
    call_once(target, messages.VERIFY_DRAFT, request.SerializeToString())


def keep_in_flight(
    target: Target,
    path: str,
    request: bytes,
    calls: int,
    *extra: tuple[str, str],
    finish: bool = False,
) -> None:
    """Callers who each have one call in flight, on one connection, and when refused pause for as
    long as the server says. With `finish`, this waits for the calls that are in flight at the end
    of the time, or of the server."""
    with connected(target) as connection:
        numbers: set[int] = set()
        paused: list[float] = []
        while (now := time.monotonic()) < target.until and not connection.closed:
            if connection.going_away:
                break
            paused = [end for end in paused if end > now]
            while len(numbers) + len(paused) < calls and not connection.going_away:
                numbers.add(connection.start(path, request, *extra))
            connection.poll(0.02)
            for number in [n for n in numbers if connection.streams[n].code is not None]:
                numbers.remove(number)
                pushback = connection.streams.pop(number).pushback
                if pushback is not None:
                    paused.append(time.monotonic() + int(pushback) / 1000)
        if finish:
            for number in numbers:
                connection.finish(number, 12)


@attack("64 calls of 1,024 rows in flight", holds=True, codes=(*REFUSED, "OK"), cores=ALL_CORES)
def greedy(target: Target) -> None:
    request = messages.sample(messages.tensor(1024, 256), messages.params(top_p=0.9, top_k=50))
    keep_in_flight(target, messages.SAMPLE, request, 64)


@attack("8 Describe calls of 2^20 logits in flight", holds=True, codes=(*REFUSED, "OK"),
        cores=ALL_CORES)  # fmt: skip
def greedy_describe(target: Target) -> None:
    profile = messages.params(top_k=1000, top_p=0.9)
    inner = messages.sample(messages.tensor(1, 2**20), profile)
    keep_in_flight(target, messages.DESCRIBE, messages.field(1, inner), 8)


@attack("8 callers, then 640, of 1,024 rows each", holds=True, flags=REGIONS,
        codes=(*REFUSED, "OK"), cores=ALL_CORES, seconds=30, short=False)  # fmt: skip
def overload(target: Target) -> None:
    few_and_many(target, 1024, 1024, 640)


@attack("8 callers, then 400, with a deadline of 0.1 s", holds=True, flags=REGIONS, cores=ALL_CORES,
        seconds=30, short=False)  # fmt: skip
def deadlines(target: Target) -> None:
    """The server samples only calls that it can answer in time."""
    few_and_many(target, 64, 32768, 400, deadline_seconds=0.1)

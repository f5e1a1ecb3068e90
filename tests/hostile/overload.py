"""Few callers, then ten times as many and more, in turns: how much of their work gets done."""

import collections
import dataclasses
import heapq
import math
import pathlib
import select
import statistics
import time

import h2
import messages
from attack import Target
from memory_attacks import connected

# Many short turns, because the speed of a shared machine drifts.
TURN_SECONDS = 1.5
LEAST_TURNS = 3
QUEUED_ROWS = 65536  # the server's default
FEW = 8  # callers who keep the server busy
CALLS_PER_CONNECTION = 200  # the server takes 256 at once
ARRIVAL_SECONDS = 0.2  # the callers of a turn arrive spread over this time
# Other processes on a small machine may add this much to a latency.
ALLOWANCE_SECONDS = 0.05


class CallersConnection(h2.Connection):
    """Notes which calls end, so that a caller with hundreds in flight need not check all of them:
    an attacker that computes takes CPU time from the server that it measures."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.ended: list[h2.Stream] = []

    def _end(self, stream: h2.Stream, code: str) -> None:
        if stream.code is None:
            self.ended.append(stream)
        super()._end(stream, code)


@dataclasses.dataclass
class Turn:
    answered: int
    refused: int
    seconds: float
    cpu_seconds: float  # of the server
    latencies: list[float]  # of the calls that were answered, in seconds
    ends: list[float]  # when they were

    def rate(self) -> float:
        return self.answered / self.seconds

    def rate_of_cpu(self) -> float:
        """Calls per second of the server's processor time, which other programs do not affect."""
        return self.answered / max(self.cpu_seconds, 0.01)

    def longest(self, calls: int) -> float:
        """The longest time in which so many calls were answered one after the other."""
        if len(self.ends) <= calls:
            return self.seconds
        return max(end - begin for begin, end in zip(self.ends, self.ends[calls:]))


def cpu_seconds(pid: int) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def take_turn(
    target: Target, request: bytes, calls: int, seconds: float, *extra: tuple[str, str]
) -> Turn:
    """Callers who each have one call in flight and, when refused, pause for as long as the server
    says. At the end of the time, this waits for the calls in flight."""
    connections = [
        CallersConnection(target.address) for _ in range(math.ceil(calls / CALLS_PER_CONNECTION))
    ]
    sockets = [connection.socket for connection in connections]
    begin, cpu = time.monotonic(), cpu_seconds(target.pid)
    until = begin + seconds
    begun: dict[h2.Stream, tuple[int, float]] = {}
    paused: list[float] = []
    latencies = []
    ends = []
    while (now := time.monotonic()) < until or (begun and now < until + 10):
        while paused and paused[0] <= now:
            heapq.heappop(paused)
        come = calls * min(1.0, (now - begin) / ARRIVAL_SECONDS) if now < until else 0
        while len(begun) + len(paused) < come:
            connection = min(connections, key=lambda one: len(one.streams))
            number = connection.start(messages.SAMPLE, request, *extra)
            begun[connection.streams[number]] = (number, time.monotonic())
        select.select(sockets, [], [], 0.02 if now - begin > ARRIVAL_SECONDS else 0.002)
        for connection in connections:
            connection.poll(0)
            now = time.monotonic()
            for stream in connection.ended:
                number, start = begun.pop(stream)
                del connection.streams[number]
                if stream.code == "OK":
                    latencies.append(now - start)
                    ends.append(now)
                if stream.pushback is not None:
                    heapq.heappush(paused, now + int(stream.pushback) / 1000)
            connection.ended.clear()
    codes = collections.Counter[str]()
    for connection in connections:
        codes.update(connection.codes)
        target.sent += connection.sent
        connection.close()
    target.codes.update(codes)
    turn = Turn(
        codes["OK"], codes.total() - codes["OK"], time.monotonic() - begin,
        cpu_seconds(target.pid) - cpu, latencies, ends,
    )  # fmt: skip
    return turn


def median_ratio(many: list[float], few: list[float]) -> float:
    return statistics.median(m / max(f, 1e-9) for m, f in zip(many, few))


def few_and_many(
    target: Target, rows: int, vocab: int, many: int, deadline_seconds: float = 0
) -> None:
    """A few callers keep the server busy; many must get as much done. The rows are in shared
    memory, so that the attacker's own sending does not limit them."""
    request = messages.sample(messages.in_region("r", rows, vocab), messages.params(top_k=50))
    extra = [("grpc-timeout", f"{1000 * deadline_seconds:.0f}m")] if deadline_seconds else []
    turns = max(LEAST_TURNS, int(target.seconds / (2 * TURN_SECONDS)))
    seconds = target.seconds / (2 * turns)
    few_turns: list[Turn] = []
    many_turns: list[Turn] = []
    with messages.SharedObject(2 * vocab * rows) as shared:
        with connected(target) as connection:
            connection.call(messages.REGISTER, shared.register("r"))
        target.codes.clear()
        for _ in range(turns):
            few_turns.append(take_turn(target, request, FEW, seconds, *extra))
            many_turns.append(take_turn(target, request, many, seconds, *extra))
    answered = [turn.answered for turn in many_turns]
    target.rows = {"few": rows * sum(t.answered for t in few_turns), "many": rows * sum(answered)}
    rates = [statistics.median(t.rate() for t in turns) for turns in (few_turns, many_turns)]
    wall = median_ratio([t.rate() for t in many_turns], [t.rate() for t in few_turns])
    cpu = median_ratio([t.rate_of_cpu() for t in many_turns], [t.rate_of_cpu() for t in few_turns])
    refused = sum(t.refused for t in many_turns) / max(1, sum(answered))
    target.notes.append(f"{rates[0]:.0f} calls/s, then {rates[1]:.0f}")
    target.notes.append(f"{cpu:.2f} by CPU time, {wall:.2f} by the clock")
    target.notes.append(f"{refused:.1f} refused for each")
    target.check(cpu >= 0.9, f"{cpu:.2f} of the calls for the same CPU time, at least 0.9")
    target.check(wall >= 0.8, f"{wall:.2f} of the calls in the same time, at least 0.8")

    latencies = sorted(latency for turn in many_turns for latency in turn.latencies)
    p99 = latencies[int(0.99 * len(latencies))] if latencies else float("inf")
    # At most a full queue and the work in progress is ahead of a call.
    bound = max(turn.longest(QUEUED_ROWS // rows + FEW) for turn in many_turns)
    bound = min(bound, deadline_seconds or bound) + ALLOWANCE_SECONDS
    target.notes.append(f"p99 {1000 * p99:.0f} ms")
    target.check(p99 <= bound, f"p99 {1000 * p99:.0f} ms, at most {1000 * bound:.0f}")

"""The polite client: one row each few milliseconds over its own connection, until SIGTERM.

Sends "ready" after its first answer, and at the end the latencies in milliseconds and the codes of
calls that failed. The latency of a call counts from the moment when it was due, so a call that
stalls for a second makes all calls late that were due in it.
"""

import collections
import signal
import time
from multiprocessing.connection import Connection

import h2
import messages

INTERVAL = 0.008
CALL_SECONDS = 20.0
VOCAB = 1000


class Polite:
    def __init__(self, address: str) -> None:
        self.address = address
        self.connection: h2.Connection | None = None
        self.request = messages.sample(messages.tensor(1, VOCAB), messages.params(top_k=50))
        self.stopping = False
        self.latencies: list[float] = []
        self.failures: collections.Counter[str] = collections.Counter()

    def call(self) -> str | None:
        """The code of one call; None if the end of the test cuts it off."""
        try:
            if self.connection is None or self.connection.closed or self.connection.going_away:
                self.connection = h2.Connection(self.address)
            number = self.connection.start(messages.SAMPLE, self.request)
        except (h2.Closed, OSError) as error:
            self.connection = None
            return f"no connection ({type(error).__name__})"
        stream = self.connection.streams[number]
        until = time.monotonic() + CALL_SECONDS
        while stream.code is None and not self.stopping and time.monotonic() < until:
            self.connection.poll(0.1)
        if stream.code is None and self.stopping:
            return None
        return self.connection.finish(number, 0).code

    def run(self, pipe: Connection) -> None:
        due = time.monotonic()
        first = True
        while not self.stopping:
            code = self.call()
            now = time.monotonic()
            if first:
                pipe.send("ready")
                first, due = False, now
                continue
            # Count the calls that were due while this one was not answered.
            late = now - due
            while late >= 0:
                self.latencies.append(late)
                late -= INTERVAL
                due += INTERVAL
            if code not in ("OK", None):
                self.failures[str(code)] += 1
                time.sleep(0.05)
            time.sleep(max(0.0, due - time.monotonic()))

    def report(self) -> dict[str, object]:
        ordered = sorted(self.latencies) or [0.0]

        def at(share: float) -> float:
            return 1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]

        return {
            "calls": len(self.latencies), "p50": at(0.5), "p99": at(0.99), "max": at(1.0),
            "failures": dict(self.failures),
        }  # fmt: skip


def be_polite(pipe: Connection, address: str) -> None:
    """A process's whole work."""
    polite = Polite(address)

    def stop(*_: object) -> None:
        polite.stopping = True

    signal.signal(signal.SIGTERM, stop)
    polite.run(pipe)
    pipe.send(polite.report())

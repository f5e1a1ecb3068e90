#!/usr/bin/env python3
"""Simulates orders of serving a line of calls with deadlines, and rules of refusing, when callers
ask for ten times as much as can be done. Time is simulated, so it prints the same on any machine.

Each caller has one call in flight, half of them with a deadline of 50 ms and half of 200 ms. A call
takes 0.25 to 4 ms of the sampler, and the server's estimates of that are wrong in several ways. A
refused caller calls again when the server has told it to; one whose call was too late calls again
at once. Refusing and dropping take time of the same processors.

A cell has the part of the time spent on rows that came in time, and their part of all sampled
rows."""

import argparse
import collections
import dataclasses
import heapq
import math
import random
from collections.abc import Callable

DEADLINES = (0.05, 0.2)
TRANSIT = 0.0005  # one way
ANSWER = 0.001  # from the sampled rows to bytes
REFUSAL, DROP = 30e-6, 80e-6  # processor time
SOONEST, LATEST = 0.005, 5.0  # of pushbacks
LEAST_WORK, MOST_WORK = 0.25e-3, 4e-3
MEAN_WORK = (MOST_WORK - LEAST_WORK) / math.log(MOST_WORK / LEAST_WORK)


@dataclasses.dataclass(eq=False)
class Job:
    caller: int
    arrived: float
    deadline: float  # as the server knows it
    work: float
    estimate: float
    waiting: bool = True


@dataclasses.dataclass(frozen=True)
class Policy:
    """`order` says which of the waiting jobs is next. A call is refused on arrival if its own time
    and `times` that of the others before it exceed what its deadline leaves (0: none is
    refused)."""

    name: str
    order: str
    times: float = 0.0
    drop: str = "late"  # or "codel", or "expired": which calls are dropped when their turn comes


POLICIES = (
    Policy("first come, first served", "fifo", drop="expired"),
    Policy("the same, dropped if it would be late", "fifo"),
    Policy("and refused if the wait is too long", "fifo", 1.0),
    Policy("if 1.33 times the wait is", "fifo", 4 / 3),
    Policy("if twice the wait is", "fifo", 2.0),
    Policy("if three times the wait is", "fifo", 3.0),
    Policy("earliest deadline, dropped if late", "edf"),
    Policy("and refused if twice the wait is too long", "edf", 2.0),
    Policy("adaptive LIFO, dropped if late", "lifo"),
    Policy("CoDel", "fifo", drop="codel"),
    Policy("CoDel and adaptive LIFO", "lifo", drop="codel"),
)

# The server's estimate of a second of work.
ERRORS: dict[str, Callable[[random.Random, float], float]] = {
    "exact": lambda _random, _now: 1.0,
    "each +-30 %": lambda random, _now: random.choice((0.7, 1.3)),
    "30 % low": lambda _random, _now: 0.7,
    "30 % high": lambda _random, _now: 1.3,
    "in turns, 0.2 s": lambda _random, now: 0.7 if int(now * 5) % 2 else 1.3,
}


class Line:
    """One line of jobs and the sampler that serves it."""

    def __init__(self, policy: Policy, error: str, callers: int, seed: int) -> None:
        self.policy = policy
        self.error = ERRORS[error]
        self.random = random.Random(seed)
        self.jobs: collections.deque[Job] = collections.deque()
        self.waiting_estimate = 0.0
        self.promised = 0.0
        self.empty_since = 0.0  # the last time when nothing waited
        self.events: list[tuple[float, int, int, Job | None]] = []  # when, order, caller, expiry
        self.next_event = 0
        self.now = 0.0
        self.sampled = self.useful = 0.0
        for caller in range(callers):
            self.come(caller, caller * 1e-4)

    def come(self, caller: int, when: float, expiry: Job | None = None) -> None:
        self.next_event += 1
        heapq.heappush(self.events, (when + TRANSIT, self.next_event, caller, expiry))

    def is_refused(self, job: Job) -> bool:
        if not self.policy.times or not self.jobs:
            return False
        if self.policy.order == "edf":
            ahead = sum(j.estimate for j in self.jobs if j.deadline <= job.deadline)
        else:
            ahead = self.waiting_estimate
        return self.policy.times * ahead + job.estimate > job.deadline - job.arrived

    def arrive(self, when: float, caller: int) -> None:
        work = LEAST_WORK * (MOST_WORK / LEAST_WORK) ** self.random.random()
        deadline = when - TRANSIT + DEADLINES[caller % 2]
        job = Job(caller, when, deadline, work, work * self.error(self.random, when))
        if self.is_refused(job):
            self.now += REFUSAL
            self.send_away(job)
            return
        self.jobs.append(job)
        self.waiting_estimate += job.estimate
        self.come(caller, deadline, job)

    def expire(self, job: Job) -> None:
        """The caller has given up, and calls again."""
        if job.waiting:
            self.jobs.remove(job)
            self.leave(job)
            self.drop(job)

    def send_away(self, job: Job) -> None:
        """Refuses the job. Its caller returns when half of the waiting work is done, in the order of
        refusal."""
        self.promised = max(self.promised, self.now + self.waiting_estimate / 2) + job.estimate
        self.promised = min(max(self.promised, self.now + SOONEST), self.now + LATEST)
        self.come(job.caller, self.promised + TRANSIT)

    def leave(self, job: Job) -> None:
        job.waiting = False
        self.waiting_estimate -= job.estimate

    def drop(self, job: Job) -> None:
        self.now += DROP
        if self.policy.drop == "codel" and job.deadline > self.now:
            self.send_away(job)
        else:
            self.come(job.caller, self.now + TRANSIT)

    def take(self) -> Job:
        overloaded = self.now - self.empty_since > 0.1
        if self.policy.order == "lifo" and overloaded:
            job = self.jobs.pop()
        elif self.policy.order == "edf":
            job = min(self.jobs, key=lambda j: j.deadline)
            self.jobs.remove(job)
        else:
            job = self.jobs.popleft()
        self.leave(job)
        return job

    def is_dropped(self, job: Job) -> bool:
        if job.deadline < self.now:
            return True
        if self.policy.drop == "codel":
            overloaded = self.now - self.empty_since > 0.1
            return self.now - job.arrived > (0.005 if overloaded else 0.1)
        return self.policy.drop == "late" and self.now + job.estimate > job.deadline

    def run(self, seconds: float) -> None:
        while self.now < seconds:
            while self.events and self.events[0][0] <= self.now:
                when, _, caller, expiry = heapq.heappop(self.events)
                if expiry is None:
                    self.arrive(when, caller)
                else:
                    self.expire(expiry)
            if not self.jobs:
                self.now = self.empty_since = max(self.now, self.events[0][0])
                continue
            job = self.take()
            if self.is_dropped(job):
                self.drop(job)
                continue
            self.now += job.work
            self.sampled += job.work
            done = self.now + ANSWER
            if done + TRANSIT <= job.deadline:
                self.useful += job.work
                self.come(job.caller, done + TRANSIT)
            else:
                self.come(job.caller, job.deadline)

    def cell(self, seconds: float) -> str:
        self.run(seconds)
        useful = self.useful / self.sampled if self.sampled else 1.0
        return f"{self.useful / seconds:.2f}, {useful:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--callers", type=int, default=400, help="default: 400")
    parser.add_argument("--seconds", type=float, default=5, help="simulated (default: 5)")
    parser.add_argument("--seed", type=int, default=1, help="default: 1")
    options = parser.parse_args()
    print(f"| {options.callers} callers | {' | '.join(ERRORS)} |")
    print("|---|" + "---|" * len(ERRORS))
    for policy in POLICIES:
        cells = [
            Line(policy, error, options.callers, options.seed).cell(options.seconds)
            for error in ERRORS
        ]
        print(f"| {policy.name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

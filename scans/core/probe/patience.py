"""How long to wait for an answer and how often to ask again.

Both follow from what the answers so far say about the path, of this host and of all hosts together (the crowd):

- Waiting: RFC 6298's smoothed round trip plus four deviations, the larger of host and crowd, because a host's own estimate
  is too tight while our burst is still queueing somewhere: on a path of 80 ms that delayed every answer of a later burst.
- Asking again: from here and not by the kernel, which would wait 1 s. Silence is believed when the chance that every attempt
  was lost is below 1 in 100,000, judging by the loss measured, up to 27 %. Of few answers none of which was late nothing is
  concluded: to doubt them would make every small scan of a clean network wait longer.
- Both at once: a port is asked again while its earlier attempts linger, and any answer counts, to whichever it is. So asking
  again may come soon, a little after answers usually come, and what is slow is not taken for lost. Only after the last
  attempt must there be time enough for every answer.

Every attempt has a source port of its own, so it is always clear which one was answered, and each may be measured. Only an
answer after more than 1 s is ambiguous (Karn's rule): the kernel has repeated the SYN by then.

Of a host that was not heard yet nobody knows how far it is. Attempts that were given up before its answers can come say
nothing of loss (it would seem to limit rates), and do not count: its ports are asked once more.
"""

from __future__ import annotations

import math

LEAST_SECONDS, MOST_SECONDS = 0.1, 3.0
LEAST_LAST_SECONDS = 0.25  # after the last attempt: below 0.2 s a busy machine takes its own delay for silence
NOBODY_HEARD_SECONDS = 0.7
UNHEARD_SECONDS = 0.25  # for a host that never answered, where others did
FAR_SECONDS = 1.0  # the last word for such a host, if it may be on another continent or behind a satellite
BACKOFF = 1.5  # for the last attempt
KERNEL_REPEATS_SECONDS = 1.0  # TCP's initial retransmission timeout on Linux
LEAST_FIRST_DEVIATION = 1 / 8  # of the first round trip, however little the paths to others vary
LONGEST_LINGER_SECONDS = 0.95  # before the kernel repeats by itself what was asked again from here
MEASURED_ALL, MEASURED_EVERY = 64, 8  # after so many answers one of a few is measured: as good, and remembered for longer

AGE_SECONDS = 0.25
ACCEPTED_MISS = 1e-5
NEGLIGIBLE_LOSS = 0.002
ENOUGH_ANSWERS = 50  # before that, the loss of one host is an anecdote
PRESUMED_ANSWERS = 20  # while all hosts together gave too few, the loss is taken as if so many more had come at once
MOST_ATTEMPTS = 9  # enough for 27 % lost
# Where answers take so long, no more: one port must not need longer than a slice of a scan, 15 s (docs/decisions/0004).
SLOW_SECONDS, MOST_SLOW_ATTEMPTS = 1.0, 5


class PathEstimate:
    """Round trip and loss, learnt from answers."""

    __slots__ = ("_deviation_seconds", "_measures_at", "_old_answers", "_older_answers", "_rtt_seconds", "answers", "late")

    def __init__(self) -> None:
        self.answers = 0
        self.late = 0  # answers to a second or later attempt: an earlier one was lost
        self._old_answers = self._older_answers = 0  # how many there were one and two ages ago
        self._measures_at = 0  # answers
        self._rtt_seconds: float | None = None
        self._deviation_seconds = 0.0

    @property
    def is_known(self) -> bool:
        """Whether a round trip was ever measured."""
        return self._rtt_seconds is not None

    @property
    def rtt_seconds(self) -> float | None:
        """The smoothed round trip; None while unknown."""
        return self._rtt_seconds

    @property
    def loss(self) -> float:
        """The share of answers that took more than one attempt.

        Late answers belong to questions as old as they are late: among all the first answers of a scan that has just begun
        they would seem fewer than they are.
        """
        return self.late / (self._older_answers or self.answers) if self.answers >= ENOUGH_ANSWERS else 0.0

    @property
    def is_young(self) -> bool:
        """Whether there are answers enough to speak of loss, but not for so long that late ones would be here."""
        return self._older_answers < ENOUGH_ANSWERS <= self.answers

    @property
    def timeout_seconds(self) -> float:
        """RFC 6298's retransmission timeout, without its bounds; 0.0 while unknown."""
        return (self._rtt_seconds or 0.0) + 4 * self._deviation_seconds

    def heard(
        self, *, attempt: int | None, latency_seconds: float | None, count: int = 1, others: PathEstimate | None = None
    ) -> None:
        """Count answers. The latency, of one of them, is None when it cannot be trusted.

        An attempt of None says nothing of loss: an earlier one may have been answered too late. `others` is what is known of
        the paths to other hosts: RFC 6298 takes half of the first round trip for its deviation, for want of anything better,
        and an attempt to a host that seldom answers would be waited for twice as long as it need be.
        """
        if attempt is not None:
            self.answers += count
            self.late += count if attempt > 1 else 0
            if self.answers < self._measures_at:
                return
        self._measures_at = self.answers + MEASURED_EVERY if self.answers > MEASURED_ALL else 0
        if latency_seconds is None or latency_seconds >= KERNEL_REPEATS_SECONDS:
            return
        if self._rtt_seconds is None:
            self._rtt_seconds, self._deviation_seconds = latency_seconds, latency_seconds / 2
            if others is not None and others.answers >= ENOUGH_ANSWERS:
                self._deviation_seconds = max(others._deviation_seconds, latency_seconds * LEAST_FIRST_DEVIATION)
        else:
            off = latency_seconds - self._rtt_seconds
            self._deviation_seconds += (abs(off) - self._deviation_seconds) / 4
            self._rtt_seconds += off / 8

    def grow_older(self) -> None:
        """AGE_SECONDS have passed. Only crowds grow old: hosts come and go too fast."""
        self._older_answers, self._old_answers = self._old_answers, self.answers

    def forgive(self) -> None:
        """Forget what was lost; what is known of the round trip stays."""
        self.answers = self.late = self._measures_at = 0


def wait_seconds(host: PathEstimate, crowd: PathEstimate, *, attempt: int, is_last: bool, may_be_far: bool) -> float:
    """How long this attempt may be without an answer until it is asked again; after the last, until silence is believed."""
    if host.is_known:
        seconds = max(host.timeout_seconds, crowd.timeout_seconds) * 1.25 + 0.02
    elif crowd.is_known:
        seconds = max(crowd.timeout_seconds * 1.5, UNHEARD_SECONDS)
    else:
        seconds = NOBODY_HEARD_SECONDS
    if not is_last:
        return min(max(seconds, LEAST_SECONDS), MOST_SECONDS)
    seconds = min(max(seconds * BACKOFF, LEAST_LAST_SECONDS), MOST_SECONDS)
    if may_be_far and attempt > 1 and not host.is_known:
        return max(seconds, FAR_SECONDS)
    return seconds


def attempts_needed(host: PathEstimate, crowd: PathEstimate, *, at_least: int, extra: int = 0) -> int:
    """After how many silent attempts silence is believed; `extra` are those that could not have been answered in time."""
    if crowd.late and crowd.answers < ENOUGH_ANSWERS:
        loss = crowd.late / (crowd.answers + PRESUMED_ANSWERS)
    else:
        loss = min(max(host.loss, crowd.loss), 0.9)
    if loss <= NEGLIGIBLE_LOSS:
        return at_least + extra
    is_slow = max(host.timeout_seconds, crowd.timeout_seconds) > SLOW_SECONDS
    most = MOST_SLOW_ATTEMPTS if is_slow else MOST_ATTEMPTS
    return max(at_least + extra, min(most, math.ceil(math.log(ACCEPTED_MISS) / math.log(loss)) + extra))

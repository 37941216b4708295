"""How long to wait for an answer and how often to ask again.

Both follow from what the answers so far say about the path, of this host and of all hosts together (the crowd):

- Waiting: RFC 6298's smoothed round trip plus four deviations, the larger of host and crowd, because a host's own estimate
  is too tight while our burst is still queueing somewhere: on a path of 80 ms that delayed every answer of a later burst.
- Asking again: from here and not by the kernel, which would wait 1 s. Silence is believed when the chance that every attempt
  was lost is below 1 in 100,000, judging by the loss measured.

Every attempt has a source port of its own, so it is always clear which one was answered, and each may be measured. Only an
answer after more than 1 s is ambiguous (Karn's rule): the kernel has repeated the SYN by then.
"""

from __future__ import annotations

import math

LEAST_SECONDS, MOST_SECONDS = 0.2, 3.0  # below 0.2 s a busy machine takes its own delay for silence
NOBODY_HEARD_SECONDS = 0.7
UNHEARD_SECONDS = 0.3  # for a host that never answered, where others did
FAR_SECONDS = 1.0  # the last word for such a host, if it may be on another continent or behind a satellite
BACKOFF, MOST_STRETCHES = 1.5, 2
KERNEL_REPEATS_SECONDS = 1.0  # TCP's initial retransmission timeout on Linux

ACCEPTED_MISS = 1e-5
NEGLIGIBLE_LOSS = 0.002
ENOUGH_ANSWERS = 50  # before that, a loss is an anecdote
MOST_ATTEMPTS = 5


class PathEstimate:
    """Round trip and loss, learnt from answers."""

    __slots__ = ("_deviation_seconds", "_rtt_seconds", "answers", "late")

    def __init__(self) -> None:
        self.answers = 0
        self.late = 0  # answers to a second or later attempt: an earlier one was lost
        self._rtt_seconds: float | None = None
        self._deviation_seconds = 0.0

    @property
    def is_known(self) -> bool:
        """Whether a round trip was ever measured."""
        return self._rtt_seconds is not None

    @property
    def loss(self) -> float:
        """The share of answers that took more than one attempt."""
        return self.late / self.answers if self.answers >= ENOUGH_ANSWERS else 0.0

    @property
    def timeout_seconds(self) -> float:
        """RFC 6298's retransmission timeout, without its bounds; 0.0 while unknown."""
        return (self._rtt_seconds or 0.0) + 4 * self._deviation_seconds

    def heard(self, *, attempt: int, latency_seconds: float | None) -> None:
        """Count an answer. Its latency is None when it cannot be trusted."""
        self.answers += 1
        if attempt > 1:
            self.late += 1
        if latency_seconds is None or latency_seconds >= KERNEL_REPEATS_SECONDS:
            return
        if self._rtt_seconds is None:
            self._rtt_seconds, self._deviation_seconds = latency_seconds, latency_seconds / 2
        else:
            off = latency_seconds - self._rtt_seconds
            self._deviation_seconds += (abs(off) - self._deviation_seconds) / 4
            self._rtt_seconds += off / 8

    def forgive(self) -> None:
        """Forget what was lost; what is known of the round trip stays."""
        self.answers = self.late = 0


def wait_seconds(host: PathEstimate, crowd: PathEstimate, *, attempt: int, is_last: bool, may_be_far: bool) -> float:
    """How long this attempt may stay without an answer. Only the last word takes longer: the others are soon asked again."""
    if host.is_known:
        first = max(host.timeout_seconds, crowd.timeout_seconds) * 1.25 + 0.02
    elif crowd.is_known:
        first = max(crowd.timeout_seconds * 1.5, UNHEARD_SECONDS)
    else:
        first = NOBODY_HEARD_SECONDS
    stretched = first * BACKOFF ** min(attempt - 1, MOST_STRETCHES) if is_last else first
    seconds = min(max(stretched, LEAST_SECONDS), MOST_SECONDS)
    if may_be_far and is_last and attempt > 1 and not host.is_known:
        return max(seconds, FAR_SECONDS)
    return seconds


def attempts_needed(host: PathEstimate, crowd: PathEstimate, *, at_least: int) -> int:
    """After how many unanswered attempts silence is believed."""
    loss = min(max(host.loss, crowd.loss), 0.9)
    if loss <= NEGLIGIBLE_LOSS:
        return at_least
    return max(at_least, min(MOST_ATTEMPTS, math.ceil(math.log(ACCEPTED_MISS) / math.log(loss))))

"""How fast a host that limits rates can be asked, and when its silence may be believed.

A firewall that takes 200 SYNs a second, or a kernel that sends 200 RSTs a second, drops what comes faster. That silence says
nothing about the port. It is noticed by answers that come only to a later attempt (`is_limited`): filtered ports never
answer later, and chance loses no more here than elsewhere. From then on the host is under restraint:

1. While it has ports that were not asked, it is asked a little faster than it answers, so that no answer it would give is
   left unused; no silence is believed. Every fourth probe asks again, which shows how much is being dropped.
2. Then a little slower than it answers. Only now does silence count, and only if it lasts. Whenever it turns out that the
   pace was too fast all the same, it is slowed, and what was silent so far is asked anew.

How much is dropped must not be confused with what is filtered. Of ports asked once a share `a` answers, of those asked
again after a silence a share `b`; if a share `p` of them would answer at all and a share `d` of all questions is dropped,
then a = p(1-d), and b = p d (1-d) / (1-a), whatever `p` is. Hence d = b (1-a) / a.
"""

from __future__ import annotations

import math

from scans.core.probe.patience import ACCEPTED_MISS, PathEstimate

SURPRISE = 7.0  # how unlikely so many late answers must be to mean a limit: 1 in e^7, about a thousand
LEAST_LOSS, MOST_LOSS = 0.02, 0.25  # what a path may lose without anyone limiting anything
ALONE_LOSS, ALONE_ANSWERS = 0.08, 100  # the same where there are no others to compare with, after so many answers
ENOUGH_ANSWERS = 10  # of fewer, too few can be late to mean anything
ABOVE_CROWD = 1.5  # times what is lost on the way to the others
ENOUGH_OF_OTHERS = 50  # answers
LEAST_PER_SECOND, LEAST_FIRST_PER_SECOND = 5.0, 50.0  # one that answers seldom because it filters is soon asked faster again
ABOVE, BELOW = 1.15, 0.9  # of what it answers: while there is more to ask, and once silence is to count
PERIOD_SECONDS = 0.5  # between two looks at the rate
TOKENS_SECONDS = 0.05  # how much of the rate may be spent at once
ENOUGH_OUTCOMES = 20  # in one period
ENOUGH_LATE = 2  # answers to a second question: one alone says nothing of how much is dropped
FEWEST_SILENCES, MOST_SILENCES = 3, 10
STRAIGHT_SILENCES, STRAIGHT_SECONDS = 100, 2.0  # to first questions: then it does not answer at all any more
HARMLESS_DROPS = 0.05  # with fewer the limit is not reached
FASTER, SLOWER, SLOWEST = 1.25, 0.8, 0.5
VAIN_CUT, VAIN_GAIN = 4.0, 1.3  # so much slower, and hardly less is lost: then it is the path, not a limit


def is_limited(host: PathEstimate, crowd: PathEstimate) -> bool:
    """Whether more answers came late than chance explains (the Chernoff bound of a binomial's tail)."""
    if host.answers < ENOUGH_ANSWERS:
        return False
    usual = _usual_loss(host, crowd)
    share = host.late / host.answers
    if share <= usual:
        return False
    surprise = share * math.log(share / usual)
    if share < 1:
        surprise += (1 - share) * math.log((1 - share) / (1 - usual))
    return host.answers * surprise > SURPRISE


def _usual_loss(host: PathEstimate, crowd: PathEstimate) -> float:
    """What chance alone may lose on the way to this host, judging by the others: its own late answers are in question."""
    others = crowd.answers - host.answers
    if others >= ENOUGH_OF_OTHERS:
        return min(max((crowd.late - host.late) / others * ABOVE_CROWD, LEAST_LOSS), MOST_LOSS)
    return LEAST_LOSS if host.answers < ALONE_ANSWERS else ALONE_LOSS


class Restraint:
    """The pace of one host, and what its silence is worth."""

    def __init__(self, *, per_second: float, now: float) -> None:
        self.is_over = False  # it is of no use
        self._per_second = self._first_per_second = max(per_second, LEAST_FIRST_PER_SECOND)
        self._tokens = 0.0
        self._turns = 0
        self._counted_at = self._period_began_at = now
        self._is_final = False
        self._first_kept: float | None = None  # the share of questions that were not dropped in the first period
        self._outcomes = self._answers = 0  # in this period
        self._asked, self._answered = [0.0, 0.0], [0.0, 0.0]  # by how often the port was silent before; the past counts half
        self._misses: dict[int, int] = {}  # index of a port: silences since `_fair_since`
        self._fair_since = now  # what was sent earlier was sent too fast
        self._straight = 0
        self._heard_at = now

    # -- Pace -------------------------------------------------------------------------------------------------------

    def take(self, wanted: int, *, now: float, is_all_asked: bool) -> int:
        """How many of the wanted probes may leave now."""
        if is_all_asked and not self._is_final:
            self._is_final = True
            self._adjust(now)
            self._per_second *= BELOW / ABOVE
            self._start_afresh(now)
        elif now - self._period_began_at >= PERIOD_SECONDS and self._outcomes >= ENOUGH_OUTCOMES:
            self._adjust(now)
        most = max(1.0, self._per_second * TOKENS_SECONDS)
        self._tokens = min(most, self._tokens + (now - self._counted_at) * self._per_second)
        self._counted_at = now
        granted = min(wanted, int(self._tokens))
        self._tokens -= granted
        return granted

    def is_turn_to_ask_again(self) -> bool:
        """Every fourth time."""
        self._turns += 1
        return self._turns % 4 == 0

    def put_back(self, unused: int) -> None:
        """Return what was taken for probes that did not leave."""
        self._tokens += unused

    @property
    def wait_seconds(self) -> float:
        """How long until a probe may leave, after `take`."""
        return max(0.0, (1 - self._tokens) / self._per_second)

    def _adjust(self, now: float) -> None:
        """Towards the limit, which is what it answers while it also drops; where nothing is dropped, it is higher up."""
        dropped = self._dropped()
        answers_per_second = self._answers / max(now - self._period_began_at, TOKENS_SECONDS)
        if self._first_kept is None and dropped > MOST_LOSS:
            self._first_kept = 1 - dropped
        elif self._first_kept is not None and self._per_second * VAIN_CUT < self._first_per_second and dropped > MOST_LOSS:
            self.is_over = not self._is_final and 1 - dropped < self._first_kept * VAIN_GAIN
        if dropped < HARMLESS_DROPS:
            self._per_second *= 1 if self._is_final else FASTER
            for counts in (self._asked, self._answered):
                counts[:] = [count / 2 for count in counts]
        else:
            least = self._per_second * (SLOWER if self._is_final else SLOWEST)
            self._per_second = max(answers_per_second * (BELOW if self._is_final else ABOVE), least)
            self._start_afresh(now)
        self._per_second = max(self._per_second, LEAST_PER_SECOND)
        self._period_began_at, self._outcomes, self._answers = now, 0, 0

    def _start_afresh(self, now: float) -> None:
        """What was sent so far was sent too fast: its silence counts for nothing."""
        self._asked, self._answered = [0.0, 0.0], [0.0, 0.0]
        self._misses.clear()
        self._fair_since = now

    def _dropped(self) -> float:
        """The share of questions that got no answer though their port gives one."""
        asked, again = self._asked
        if not self._answered[0] or self._answered[1] < ENOUGH_LATE:
            return 0.0
        first_share, again_share = self._answered[0] / asked, self._answered[1] / again
        return min(again_share * (1 - first_share) / first_share, 0.9)

    # -- Silence ----------------------------------------------------------------------------------------------------

    def heard(self, index: int, *, sent_at: float, now: float) -> None:
        """That port answered."""
        self._straight, self._heard_at = 0, now
        self._outcomes += 1
        self._answers += 1
        before = self._misses.pop(index, 0)
        if sent_at >= self._fair_since and before < 2:
            self._asked[before] += 1
            self._answered[before] += 1

    def is_believed(self, index: int, *, sent_at: float, now: float) -> bool:
        """That port was silent: whether to leave it at that."""
        if sent_at < self._fair_since:
            return False
        self._outcomes += 1
        before = self._misses.get(index, 0)
        self._misses[index] = before + 1
        if before < 2:
            self._asked[before] += 1
        if not before and not self._is_final:
            self._straight += 1
            if self._straight >= STRAIGHT_SILENCES and now - self._heard_at >= STRAIGHT_SECONDS:
                self.is_over = True
        return self._is_final and before + 1 >= self._silences_needed()

    def _silences_needed(self) -> int:
        loss = max(self._dropped(), LEAST_LOSS)
        return min(MOST_SILENCES, max(FEWEST_SILENCES, math.ceil(math.log(ACCEPTED_MISS) / math.log(loss))))

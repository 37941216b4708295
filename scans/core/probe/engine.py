"""The loop: launch, listen, expire, until every port of every host has its state.

One turn, in this order:

1. pull plans and admit the hosts handed in, give up those dropped; on cancel, give up everything instead;
2. launch at most TURN_BURST probes, HOST_BURST for each host in its turn, within the windows and the rate;
3. wait for events, and take all there are;
4. only then expire what is overdue: an answer that already is in the kernel is never taken for silence, however long the
   loop was held up, be it by a slow consumer of `run`.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from operator import attrgetter
from typing import cast

from scans.core.options import ProbeOptions
from scans.core.probe.budgets import ProbeBudgets
from scans.core.probe.feed import MOST_PORTS, READY_HOSTS, Feed
from scans.core.probe.host import Host
from scans.core.probe.inbox import Inbox
from scans.core.probe.kept import KeptConnections
from scans.core.probe.network import KERNEL, Network
from scans.core.probe.one_shot import READABLE
from scans.core.probe.patience import (
    AGE_SECONDS,
    LEAST_LAST_SECONDS,
    LEAST_SECONDS,
    LONGEST_LINGER_SECONDS,
    PathEstimate,
    attempts_needed,
    wait_seconds,
)
from scans.core.probe.plans import HostPlan, HostResult, ProbeStats
from scans.core.probe.restraint import Restraint, is_limited
from scans.core.probe.rotation import Rotation
from scans.core.probe.sockets import (
    CLOSED,
    GAVE_UP,
    NOTHING_YET,
    OPEN,
    OUT_OF_DESCRIPTORS,
    OUT_OF_PORTS,
    Flight,
    Outcome,
    SocketPool,
    error_name,
    is_without_messages,
    outcome,
)
from scans.core.probe.wheel import TimerWheel
from scans.core.probe.window import Window
from scans.core.tools import Pace
from scans.core.types import IPAddress, PortState, Probe

EINPROGRESS, ECONNREFUSED, new_tuple = errno.EINPROGRESS, errno.ECONNREFUSED, tuple.__new__  # for hot paths
SHORTAGES = OUT_OF_DESCRIPTORS | OUT_OF_PORTS
TURN_BURST = 512
HOST_BURST = 64
MAX_EVENTS = 4096  # fetched at once
MOST_RINGS = 4096  # bytes that woke the loop; if there are more, they wake it again
LONGEST_SLEEP_SECONDS = 0.2  # the turn counter must keep moving while there is nothing to do
TOKEN_NAP_SECONDS = 0.005  # at least, so that tokens gather: a turn for each would be mostly overhead
RESTRAINT_NAP_SECONDS = 0.02  # the same for the tokens of one host, of which there may be many
ALONE_SECONDS = 0.2  # at least for an attempt that is not waited for beside the next one
REST_SECONDS = 0.05  # after the system had no descriptor or no source port left
STARVED_SECONDS = 5.0  # with nothing in flight that could free one: then it is an error, and no longer a shortage
HELD_UP_SECONDS = 0.02  # between two turns: then the time of an answer says nothing about the path
# Where answers take no time, a burst that brought none back waits in a queue of the system, which drops what exceeds a
# thousand packets: sleeping lets them be delivered, going on would lose them (measured on a busy machine).
QUICK_SECONDS, NOTHING_CAME_NAP_SECONDS = 0.02, 0.001
RETHINK_AT_ANSWERS = (32, 512)  # when the first guesses of how long to wait are replaced by what was measured


class ProbeEngine:
    """Probes hosts for whoever calls `run`; the other methods may be called from any thread."""

    def __init__(
        self,
        options: ProbeOptions,
        *,
        may_connect: Callable[[IPAddress], bool],
        pace: Pace | None = None,
        network: Network = KERNEL,
    ) -> None:
        self._network = network
        self._now = network.clock
        self._budgets = ProbeBudgets.from_options(options)
        self._may_connect = may_connect
        self._inbox = Inbox()
        self._feed: Feed | None = None
        self._ends_at = math.inf  # the whole run
        self._end_reason = "cancelled"
        self._same_ports: tuple[Sequence[int], tuple[int, ...]] = ((), ())
        self._finished: list[HostResult] = []
        self._refusing: list[Host] = []  # who answered since refusals were last counted

        self._rotation = Rotation()
        self._window = Window(first=self._budgets.first_window, most=self._budgets.max_inflight)
        self._pace: Pace = self._budgets.pace() if pace is None else pace
        # The near and the far have little in common: each learns from its own kind, by `is_paced`.
        self._crowds = {False: PathEstimate(), True: PathEstimate()}
        self._expiries: TimerWheel[Flight] = TimerWheel(now=self._now())
        self._kept = KeptConnections()
        self._alarms: TimerWheel[Host] = TimerWheel(now=self._now())  # ends of rests, and deadlines

        self._ages_at = self._rests_until = 0.0
        self._starved_since: float | None = None  # when the system began to deny us every descriptor
        self._was_held_up = self._is_quiet = False  # quiet: the last look found no event at all
        self._sent = self._answered = self._retried = self._turns = 0
        self._states = dict.fromkeys(PortState, 0)  # of planned ports

    def submit(self, plan: HostPlan) -> None:
        """Add a host. Raises EngineClosedError after `finish` or the end of `run`, ValueError for what cannot be meant.

        Between `cancel` and the end of `run` a host is still taken, and comes back untested.
        """
        self._inbox.put(self._host(plan))

    def finish(self) -> None:
        """No more hosts will come: `run` ends when those submitted are done."""
        self._inbox.close()

    def cancel(self) -> None:
        """Stop at once. `run` yields every unfinished host, `not_tested` where there is no state yet, and ends."""
        self._inbox.cancel()

    def drop(self, keys: Iterable[Hashable]) -> None:
        """Stop with these hosts at once: each is yielded, `not_tested` where there is no state yet. Others go on."""
        self._inbox.drop(keys)

    def progress(self, key: Hashable) -> tuple[int, int] | None:
        """Ports settled and ports in all of a host under way; None for one that is finished or unknown."""
        host = self._inbox.find(key)
        return host.progress if host else None

    def partial(self, key: Hashable) -> tuple[Probe, ...] | None:
        """What is known so far of a host under way, which goes on; None for one that is finished or unknown."""
        host = self._inbox.find(key)
        return host.settled if host else None

    @property
    def pace(self) -> Pace:
        """What paced hosts are probed at, for whoever else makes connections to them."""
        return self._pace

    @property
    def stats(self) -> ProbeStats:
        """A snapshot, cheap at any time."""
        crowd = max(self._crowds.values(), key=attrgetter("answers"))
        return ProbeStats(
            sent=self._sent,
            answered=self._answered,
            retried=self._retried,
            in_flight=self._window.in_flight,
            hosts_waiting=len(self._inbox),
            turns=self._turns,
            planned=self._inbox.ports_taken,
            states=self._states.copy(),
            rtt_seconds=crowd.rtt_seconds,
            loss=crowd.loss,
        )

    def run(
        self, plans: Iterable[HostPlan | None] | None = None, *, deadline_seconds: float | None = None
    ) -> Iterator[list[HostResult]]:
        """Probe, and yield hosts in batches as they are finished.

        Nothing happens while the caller holds a batch: hand it on, to a queue say, and come back.

        Plans are pulled in the caller's thread, only as there is room for them, and their end is a `finish`. The iterator
        must not block; a None means "nothing now", and more is asked for a little later. What it raises ends the run and
        is raised here, and so is what `submit` says of a plan.

        After the deadline it ends as after a `cancel`, but what is left is not_tested because of the deadline.
        """
        if deadline_seconds is not None:
            self._ends_at = self._now() + deadline_seconds
        self._feed = None if plans is None else Feed(plans)
        with ExitStack() as stack:
            self._wake_fd = stack.enter_context(self._inbox.opened())
            self._poller = stack.enter_context(closing(self._network.poller()))
            self._poller.register(self._wake_fd, READABLE)
            self._pool = SocketPool(self._network, self._poller, most_open=self._budgets.max_inflight)
            stack.callback(setattr, self._window, "in_flight", 0)  # some linger still, for ports that have their state
            stack.callback(self._pool.close)
            stack.callback(self._kept.close)
            while not self._inbox.is_over():
                self._turn()
                if self._finished:
                    batch, self._finished = self._finished, []
                    handed_over_at = self._now()
                    yield batch
                    self._was_held_up = self._now() - handed_over_at > HELD_UP_SECONDS

    def _host(self, plan: HostPlan) -> Host:
        window = Window(first=self._budgets.first_host_window, most=self._budgets.per_host)
        return Host(plan, ports=self._normalised(plan.ports), window=window)

    def _normalised(self, ports: Sequence[int]) -> tuple[int, ...]:
        """Ascending and without repeats. The hosts of a job share one tuple, which is sorted, and kept, once."""
        given, found = self._same_ports  # one read and one write of the pair: other threads may do the same
        if given is ports:
            return found
        found = tuple(sorted(set(ports)))
        if found and not 1 <= found[0] <= found[-1] <= 65535:
            raise ValueError("Ports run from 1 to 65535.")
        if isinstance(ports, tuple):  # a list may change
            self._same_ports = (ports, found)
        return found

    # -- One turn ---------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._turns += 1
        if self._feed is not None:
            self._pull(self._feed)
        self._admit()
        if self._inbox.is_cancelled:
            self._feed = None
            self._give_up(self._inbox.unfinished(), PortState.NOT_TESTED, self._end_reason)
            return
        if dropped := self._inbox.take_dropped():
            self._give_up(dropped, PortState.NOT_TESTED, "dropped")
        self._launch()
        listened_at = self._listen()
        self._expire(listened_at)
        self._ring_alarms()
        self._kept.expire(now=listened_at)
        if not len(self._inbox):
            self._pool.drain()  # idle: others may need the descriptors

    def _pull(self, feed: Feed) -> None:
        """Take plans until enough hosts have something to send."""
        now = self._now()
        for _ in range(self._wanted_hosts(feed, now)):
            if self._inbox.ports_held >= MOST_PORTS or (plan := feed.take(now=now)) is None:
                break
            self._inbox.put(self._host(plan), wakes=False)
        if feed.has_ended:
            self._feed = None
            self.finish()

    def _wanted_hosts(self, feed: Feed, now: float) -> int:
        if self._inbox.is_cancelled or self._inbox.ports_held >= MOST_PORTS or not feed.may_ask(now=now):
            return 0
        # Hosts that rest have nothing in flight and nothing to send: without a limit their number would grow and grow.
        most = self._budgets.max_inflight + READY_HOSTS - len(self._inbox)
        return max(0, min(READY_HOSTS - len(self._rotation), most))

    def _admit(self) -> None:
        for host in self._inbox.take_new():
            if host.remaining:
                self._rotation.add(host)
                if host.deadline_at is not None:
                    self._alarms.add(host, at=host.deadline_at)
            elif not host.is_finished:
                self._finish(host)

    def _launch(self) -> None:
        now = self._now()
        if now >= self._ends_at:
            return
        self._window.recover(now=now)
        if now >= self._ages_at:
            self._ages_at = now + AGE_SECONDS
            for crowd in self._crowds.values():
                crowd.grow_older()
        left = TURN_BURST
        while left > 0 and self._window.room > 0 and now >= self._rests_until:
            host = self._rotation.take(may_pace=self._pace.wait_seconds(now=now) == 0)
            if host is None:
                return
            if host.has_begun or self._may_begin(host, now):
                count = self._burst(host, now, most=left)
                self._launch_burst(host, count)
                if host.restraint is not None:
                    self._restrain(host, host.restraint, now)
                self._requeue(host)
                left -= count
            left -= 1  # also for a host that had nothing to launch: the loop stays bounded

    def _may_begin(self, host: Host, now: float) -> bool:
        """Ask the scope policy, the last time before a packet leaves."""
        if host.is_finished:
            return False
        if host.deadline_at is not None and host.deadline_at <= now:  # that of its batch
            self._give_up([host], PortState.NOT_TESTED, "deadline")
            return False
        if not self._may_connect(host.plan.address):
            self._give_up([host], PortState.REFUSED, "scope")
            return False
        host.begin(now=now)
        if host.deadline_at is not None:
            self._alarms.add(host, at=host.deadline_at)
        return True

    def _burst(self, host: Host, now: float, *, most: int) -> int:
        """How many probes this host may send in its turn: while others wait, no more than half of what room there is."""
        room = self._window.room
        count = min(host.room, HOST_BURST, most, room if self._rotation.is_empty else (room + 1) // 2)
        if host.restraint is not None:
            count = host.restraint.take(count, now=now, is_all_asked=host.is_all_asked)
        if not host.is_paced:
            return count
        address = host.plan.address
        granted = self._pace.take(count, address, ahead=host.remaining, now=now)
        if count and not granted and (wait := self._pace.rest_seconds(count, address, now=now)):
            host.is_resting = True
            self._alarms.add(host, at=now + wait)
        if host.restraint is not None:
            host.restraint.put_back(count - granted)
        return granted

    def _launch_burst(self, host: Host, count: int) -> None:
        waits = dict[int, float]()  # by attempt: once for all, for it is a tenth of what a probe costs
        for left in range(count, 0, -1):
            probe = host.next_probe()
            if probe is None:  # what was to be repeated is answered
                self._put_back(host, left)
                return
            index, attempt = probe
            if attempt not in waits:
                waits[attempt] = self._wait_seconds(host, attempt)
            error = self._send(host, index, attempt, waits[attempt])
            if error:
                host.retry(index, attempt)  # as the same attempt: none was made
                self._put_back(host, left)
                if error in SHORTAGES:
                    self._starve(host, error)
                else:  # no such address family, or the sandbox forbids it: waiting will not help
                    self._give_up([host], PortState.ERROR, error_name(error))
                return

    def _put_back(self, host: Host, unused: int) -> None:
        if host.is_paced:
            self._pace.put_back(unused, host.plan.address)
        if host.restraint is not None:
            host.restraint.put_back(unused)

    def _send(self, host: Host, index: int, attempt: int, patience_seconds: float) -> int:
        """Begin one connection. Returns 0, or the error that kept the system from even beginning it."""
        parked = self._pool.parked[host.family]
        try:
            flight = parked.pop() if parked else self._pool.make(host.family)
        except OSError as error:
            return error.errno or errno.EIO
        flight.address = address = host.socket_address(index)
        flight.sent_at = now = self._now()
        error_number = flight.connect(address)
        if error_number != EINPROGRESS and error_number in SHORTAGES:
            self._pool.discard(flight)
            return error_number
        if not flight.is_watched:
            try:
                self._pool.watch(flight)
            except OSError as error:
                self._pool.discard(flight)
                return error.errno or errno.EIO
        flight.host, flight.index, flight.attempt, flight.is_lingering = host, index, attempt, False
        flight.expires_at = expires_at = now + patience_seconds
        self._expiries.add(flight, at=expires_at)
        self._sent += 1
        self._window.in_flight += 1
        host.window.in_flight += 1
        host.starved_since = self._starved_since = None
        if error_number and error_number != EINPROGRESS:
            self._land(flight, host, outcome(flight.socket, error_number), now)
        return 0

    def _listen(self) -> float:
        """Take all events there are. Returns the time until which nothing can have been missed."""
        flights = self._pool.flights
        timeout_seconds, is_more, is_further = self._sleep_seconds(), True, False
        while is_more:
            events = self._poller.poll(timeout_seconds, MAX_EVENTS)
            now = self._now()
            for fd, _ in events:
                flight = flights.get(fd)
                if flight is None:
                    if fd == self._wake_fd:
                        os.read(fd, MOST_RINGS)
                elif (host := flight.host) is not None:  # without one it is the echo of a socket that was parked since
                    error = flight.connect(flight.address)
                    if error != ECONNREFUSED or not is_without_messages(flight.socket):
                        self._land(flight, host, outcome(flight.socket, error), now)
                    elif flight.attempt > 1 or host.restraint is not None or host.probes[flight.index] is not None:
                        self._land(flight, host, CLOSED, now)
                    else:
                        self._refuse(flight, host, now)
            self._count_refused()
            self._is_quiet = not events and not is_further
            timeout_seconds, is_more, is_further = 0, len(events) == MAX_EVENTS, True
        self._was_held_up = False
        return now

    def _expire(self, now: float) -> None:
        last_host, needed = None, 0
        for flight in self._expiries.due(now=now):
            # A flight is in the wheel once for each probe it ever carried: only the present one counts.
            host = flight.host
            if host is not None and flight.expires_at <= now:
                if flight.is_lingering:
                    self._forget(flight, host)
                    continue
                if host is not last_host:  # those of one host come together
                    last_host, needed = host, self._attempts_needed(host)
                self._silence(flight, host, needed)

    def _ring_alarms(self) -> None:
        now, overdue = self._now(), dict[Host, None]()
        for host in self._alarms.due(now=now):
            if host.is_finished:
                continue
            if host.deadline_at is not None and host.deadline_at <= now:
                overdue[host] = None
            else:
                host.is_resting = False
                self._requeue(host)
        if overdue:
            self._give_up([*overdue], PortState.NOT_TESTED, "deadline")
        if now >= self._ends_at and not self._inbox.is_cancelled:
            self._end_reason = "deadline"
            self.cancel()

    def _sleep_seconds(self) -> float:
        """How long to wait for events: until the next thing that is due, and not at all while there is work."""
        now = self._now()
        until = min(now + LONGEST_SLEEP_SECONDS, self._ends_at)
        if self._window.room > 0 and self._rotation.has_free:
            until = self._rests_until
        elif self._feed is not None and self._wanted_hosts(self._feed, now):
            until = now
        elif self._window.room > 0 and self._rotation.has_paced:
            wait = self._pace.wait_seconds(now=now)
            until = min(until, max(self._rests_until, now + max(wait, TOKEN_NAP_SECONDS) if wait else now))
        if until <= now:
            return NOTHING_CAME_NAP_SECONDS if self._is_quiet and self._is_path_quick() else 0.0
        for at in (self._expiries.next_at(), self._alarms.next_at()):
            until = until if at is None else min(until, at)
        return max(0.0, until - now)

    def _restrain(self, host: Host, restraint: Restraint, now: float) -> None:
        """Let the host rest until it may be asked again, or let it go."""
        if restraint.is_over:
            host.restraint = None
            host.path.forgive()
        elif (wait := restraint.wait_seconds) > 0 and not host.is_resting:
            host.is_resting = True
            self._alarms.add(host, at=now + max(wait, RESTRAINT_NAP_SECONDS))

    def _is_path_quick(self) -> bool:
        """Whether all who answer do so at once."""
        return all(crowd.timeout_seconds < QUICK_SECONDS for crowd in self._crowds.values())

    # -- What becomes of a probe ------------------------------------------------------------------------------------

    def _land(self, flight: Flight, host: Host, found: Outcome, now: float) -> None:
        """Deal with the outcome of a probe in flight."""
        if found is NOTHING_YET:
            return
        if found is GAVE_UP:
            if flight.is_lingering:
                self._forget(flight, host)
            else:
                self._silence(flight, host, self._attempts_needed(host))
            return
        self._window.land(1, 1)
        host.window.land(1, 1)
        index, attempt = flight.index, flight.attempt
        is_news = host.probes[index] is None  # else another attempt was answered before
        if found is CLOSED:
            self._pool.park(flight)
        elif found is OPEN and is_news:
            self._part(flight, host, now)
        elif found.state is PortState.OPEN:
            self._pool.reset(flight)
        else:
            self._pool.discard(flight)
        if not is_news:
            self._requeue(host)
        elif found.state is None:  # it met itself
            if not flight.is_lingering:
                host.retry(index, attempt)
            self._requeue(host)
        else:
            latency_ms = None
            if found.is_answer:
                latency = now - flight.sent_at
                latency_ms = latency * 1000
                self._learn(host, None if attempt > 1 and host.excuse_attempt(latency) else attempt, latency)
                if host.restraint is not None:
                    host.restraint.heard(index, sent_at=flight.sent_at, now=now)
            self._settle(host, index, Probe(host.ports[index], found.state, found.reason, attempt, latency_ms))

    def _refuse(self, flight: Flight, host: Host, now: float) -> None:
        """A first attempt met a closed port, as nearly all do: only what cannot be done for many at once, and no calls."""
        index = flight.index
        host.refused_seconds = seconds = now - flight.sent_at
        host.probes[index] = new_tuple(Probe, (host.ports[index], CLOSED.state, CLOSED.reason, 1, seconds * 1000))
        host.remaining -= 1
        if not host.refused:
            self._refusing.append(host)
        host.refused += 1
        flight.host = None
        self._pool.parked[flight.family].append(flight)

    def _count_refused(self) -> None:
        """The rest of it."""
        for host in self._refusing:
            count, host.refused = host.refused, 0
            self._window.land(count, count)
            host.window.land(count, count)
            self._states[PortState.CLOSED] += count
            self._learn(host, 1, host.refused_seconds, count)
            self._settled(host)
        self._refusing.clear()

    def _part(self, flight: Flight, host: Host, now: float) -> None:
        """Close an open connection, or keep it for the caller."""
        if host.plan.keep_open and not host.is_controlled and self._kept.has_room(host.plan.key):
            self._kept.keep(host.plan.key, host.ports[flight.index], self._pool.part_with(flight), now=now)
        else:
            self._pool.reset(flight)

    def _silence(self, flight: Flight, host: Host, needed: int) -> None:
        """No answer in time: ask again, or believe it."""
        index, attempt, may_linger = flight.index, flight.attempt, self._may_linger(host)
        if host.probes[index] is not None:  # an earlier attempt was answered
            self._forget(flight, host)
        elif attempt >= needed and host.restraint is None and self._crowds[host.is_paced].is_young:
            self._put_off(flight, flight.expires_at + AGE_SECONDS / 2)  # how often to ask will soon be known
        elif not may_linger and flight.expires_at < flight.sent_at + ALONE_SECONDS:
            self._put_off(flight, flight.sent_at + ALONE_SECONDS)
        elif self._is_believed(flight, host, needed):
            self._forget(flight, host)
            self._settle(host, index, Probe(host.ports[index], PortState.FILTERED, "timeout", attempt, None))
        else:
            self._retried += 1
            host.retry(index, attempt + 1)
            if may_linger:
                self._let_linger(flight, host, needed)
            else:
                if not host.path.is_known:
                    host.give_up_unheard(flight.expires_at - flight.sent_at)
                self._forget(flight, host)

    def _put_off(self, flight: Flight, at: float) -> None:
        """Give it more time."""
        flight.expires_at = at
        self._expiries.add(flight, at=at)

    def _may_linger(self, host: Host) -> bool:
        """Whether an answer may still come, and there is room to wait for it: dark space would fill any window."""
        if host.restraint is not None or host.window.room <= 0:  # what a restrained host did not answer at once it dropped
            return False
        return host.path.is_known or self._window.is_half_empty

    def _let_linger(self, flight: Flight, host: Host, needed: int) -> None:
        """Its port is asked once more, and if this attempt is answered all the same, that counts."""
        waited_seconds = flight.expires_at - flight.sent_at
        until_verdict = (needed - flight.attempt) * waited_seconds + LEAST_LAST_SECONDS
        flight.is_lingering = True
        self._put_off(flight, min(flight.expires_at + until_verdict, flight.sent_at + LONGEST_LINGER_SECONDS))
        self._window.grow()
        host.window.grow()
        self._requeue(host)

    def _forget(self, flight: Flight, host: Host) -> None:
        """No answer is waited for any more."""
        self._pool.recycle(flight)
        growth = 0 if flight.is_lingering else 1  # the windows grew when that began
        self._window.land(1, growth)
        host.window.land(1, growth)
        self._requeue(host)

    def _is_believed(self, flight: Flight, host: Host, needed: int) -> bool:
        if host.restraint is not None:
            return host.restraint.is_believed(flight.index, sent_at=flight.sent_at, now=self._now())
        return flight.attempt >= needed

    def _settle(self, host: Host, index: int, probe: Probe) -> None:
        host.settle(index, probe)
        self._states[probe.state] += 1
        self._settled(host)

    def _settled(self, host: Host) -> None:
        """One port more has its state, or several."""
        if not host.remaining and not host.is_finished:
            if not host.is_controlled:
                host.control()
            if not host.remaining:
                self._finish(host)
                return
        self._requeue(host)

    def _requeue(self, host: Host) -> None:
        if not host.is_queued and host.room > 0:
            self._rotation.add(host)

    def _learn(self, host: Host, attempt: int | None, latency_seconds: float, count: int = 1) -> None:
        self._answered += count
        crowd = self._crowds[host.is_paced]
        before = crowd.answers
        trusted = None if self._was_held_up else latency_seconds
        host.path.heard(attempt=attempt, latency_seconds=trusted, count=count, others=crowd)
        # What a limit drops says nothing about the paths to others.
        crowd.heard(attempt=attempt if host.restraint is None else 1, latency_seconds=trusted, count=count)
        if before < RETHINK_AT_ANSWERS[-1] and any(before < answers <= crowd.answers for answers in RETHINK_AT_ANSWERS):
            self._rethink()
        if attempt is not None and attempt > 1 and not host.was_restrained and is_limited(host.path, crowd):
            now = self._now()
            host.was_restrained = True
            host.restraint = Restraint(per_second=host.path.answers / max(now - host.begun_at, LEAST_SECONDS), now=now)
            self._states[PortState.FILTERED] -= host.reopen_silent()

    def _rethink(self) -> None:
        """Shorten the waits that were guessed before anyone had answered."""
        for flight in self._pool.flights.values():
            host = flight.host
            if host is not None and not flight.is_lingering:
                expires_at = flight.sent_at + self._wait_seconds(host, flight.attempt)
                if expires_at < flight.expires_at:
                    flight.expires_at = expires_at
                    self._expiries.add(flight, at=expires_at)

    def _wait_seconds(self, host: Host, attempt: int) -> float:
        crowd = self._crowds[host.is_paced]
        # Under restraint answers are dropped, not late: to wait longer would gain nothing.
        is_last = host.restraint is None and attempt >= self._attempts_needed(host)
        return wait_seconds(host.path, crowd, attempt=attempt, is_last=is_last, may_be_far=host.is_paced)

    def _attempts_needed(self, host: Host) -> int:
        crowd, at_least = self._crowds[host.is_paced], self._budgets.attempts
        return attempts_needed(host.path, crowd, at_least=at_least, extra=host.extra_attempts)

    # -- Shortages and endings --------------------------------------------------------------------------------------

    def _starve(self, host: Host, error: int) -> None:
        """Something ran out: shrink, rest, try again. It becomes an error only when nothing of ours can be the cause."""
        now = self._now()
        if error in OUT_OF_PORTS:  # towards this destination: the others go on
            since = host.starved_since = host.starved_since or now
            is_ours = host.window.in_flight > 0
            host.is_resting = True
            self._alarms.add(host, at=now + REST_SECONDS)
        else:
            since = self._starved_since = self._starved_since or now
            is_ours = self._window.in_flight > 0
            self._window.shrink(now=now)
            self._rests_until = 0.0 if is_ours else now + REST_SECONDS
        if not is_ours and now - since > STARVED_SECONDS:
            self._rests_until = 0.0
            self._give_up([host], PortState.ERROR, error_name(error))

    def _give_up(self, hosts: list[Host], state: PortState, reason: str) -> None:
        """Settle what is left of the hosts, and finish them."""
        self._ground({id(host) for host in hosts if host.window.in_flight})
        for host in hosts:
            self._states[state] += host.settle_rest(state, reason)
            self._finish(host)

    def _ground(self, hosts: set[int]) -> None:
        """Take back what those hosts have in flight; that attempt was made, so the next one is what is left."""
        if not hosts:
            return
        for flight in list(self._pool.flights.values()):
            host = flight.host
            if host is not None and id(host) in hosts:
                if not flight.is_lingering:
                    host.retry(flight.index, flight.attempt + 1)
                host.window.in_flight -= 1
                self._window.in_flight -= 1
                self._pool.discard(flight)

    def _finish(self, host: Host) -> None:
        host.is_finished = True
        for control in host.probes[host.planned_count :]:
            self._states[cast("Probe", control).state] -= 1  # it was counted, and nobody planned it
        self._inbox.forget(host)
        self._finished.append(host.result(self._kept.hand_over(host.plan.key)))

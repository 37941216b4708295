"""The only module that asks DNS on behalf of intelligence sources: many questions at once, each under a deadline.

Names of targets are another matter: `resolve.py` asks the system for those. The answers are as hostile as any: they come
back as capped, clean text, and how many there may be is limited.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from scans.core.egress import SYSTEM_DNS, Gate
from scans.core.options import IntelOptions
from scans.core.text import clean_text

if TYPE_CHECKING:
    from dns._asyncio_backend import Backend
    from dns.asyncresolver import Resolver

MAX_RECORDS = 32  # of one answer
MAX_AT_ONCE = 64  # questions
MAX_TEXT_CHARS = 500
ROUNDS = (
    2  # that a request's questions have time for, if no server answers: what an answer leads to is asked about in a second
)


class DnsState(StrEnum):
    """What became of one question."""

    FOUND = "found"
    NOTHING = "nothing"  # no such name, or no such record: an answer
    FAILED = "failed"  # no server answered properly, or none in time


class Question(NamedTuple):
    """A name and a record type: A, AAAA, PTR or TXT."""

    name: str
    kind: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Records:
    """The answer to one question: addresses, names without their last dot, or joined texts."""

    state: DnsState
    texts: tuple[str, ...] = ()
    reason: str = ""  # of a failure, in words


LATE = Records(state=DnsState.FAILED, reason="no answer in time")
UNREACHABLE = "the resolver cannot be reached"
NO_RESOLVER = Records(state=DnsState.FAILED, reason="this machine has no resolver: set DNS_SERVERS")


def is_down(answers: Iterable[Records]) -> bool:
    """Whether nobody was there to answer any of these: then it is the resolver, and not the zone that was asked about."""
    return all(
        records.state is DnsState.FAILED and records.reason in (UNREACHABLE, NO_RESOLVER.reason) for records in answers
    )


class Dns:
    """Asks the configured resolvers, or the system's. For one request of a source; not shared between threads.

    A question has `dns_timeout_seconds`; all that are asked, in however many calls, have ROUNDS times as long together.
    """

    def __init__(self, gate: Gate, options: IntelOptions) -> None:
        self._gate = gate
        self._servers = options.dns_servers
        self._seconds = options.dns_timeout_seconds
        self._ends_at: float | None = None  # by the monotonic clock; None: nothing was asked yet

    def ask(self, questions: Sequence[Question]) -> list[Records]:
        """The answers in the order of the questions. Raises EgressRefusedError if the gate is shut."""
        if not questions:
            return []
        if (resolver := self._resolver()) is None:
            return [NO_RESOLVER] * len(questions)  # and nobody was contacted
        for host, port in self._servers or ((SYSTEM_DNS, 53),):
            self._gate.permit_dns(host, port)
        self._ends_at = self._ends_at or time.monotonic() + ROUNDS * self._seconds
        import asyncio  # 20 ms at the start of every process otherwise

        return asyncio.run(self._ask_all(resolver, questions, self._ends_at - time.monotonic()))

    async def _ask_all(self, resolver: Resolver, questions: Sequence[Question], seconds: float) -> list[Records]:
        import asyncio

        turns = asyncio.Semaphore(MAX_AT_ONCE)
        end = asyncio.get_running_loop().time() + seconds

        async def one(question: Question) -> Records:
            try:
                async with asyncio.timeout_at(end), turns:
                    return await _answer(resolver, question, self._seconds)
            except TimeoutError:
                return LATE

        return await asyncio.gather(*map(one, questions))

    def _resolver(self) -> Resolver | None:
        """None if the system has none, or none that can be read."""
        from dns.asyncresolver import Resolver
        from dns.exception import DNSException
        from dns.nameserver import Do53Nameserver

        try:
            resolver = Resolver(configure=not self._servers)
        except (DNSException, ValueError):
            return None
        if self._servers:
            resolver.nameservers = [Do53Nameserver(host, port) for host, port in self._servers]
        resolver.timeout = (
            self._seconds / 2
        )  # for one try: a lost packet, or a first server that is down, leaves time for another
        resolver.search = []
        resolver.cache = None
        return resolver


async def _answer(resolver: Resolver, question: Question, seconds: float) -> Records:
    import dns.exception
    import dns.resolver

    try:
        answer = await resolver.resolve(question.name, question.kind, lifetime=seconds, search=False, backend=_backend())
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return Records(state=DnsState.NOTHING)
    except dns.exception.Timeout:
        return LATE
    except dns.resolver.NoNameservers as error:
        return Records(state=DnsState.FAILED, reason=_why_nobody(error.kwargs.get("errors", ())))
    except Exception as error:  # noqa: BLE001 - the edge: a hostile reply can raise anything inside the library
        return Records(state=DnsState.FAILED, reason=f"the answer could not be read ({type(error).__name__})")
    texts = (_text(record) for record in islice(answer.rrset or (), MAX_RECORDS))
    found = tuple(dict.fromkeys(filter(None, texts)))
    return Records(state=DnsState.FOUND if found else DnsState.NOTHING, texts=found)


@cache
def _backend() -> Backend:
    """The library's, but with connected sockets: a resolver that is down is then known at once, and others are not heard."""
    from dns._asyncio_backend import Backend

    class Connected(Backend):
        def datagram_connection_required(self) -> bool:
            return True

    return Connected()


def _why_nobody(errors: Sequence[tuple[object, ...]]) -> str:
    """The library gives one tuple a try, with the exception in the fourth place; None there: it answered with an error."""
    if errors and all(isinstance(error[3], OSError) for error in errors):
        return UNREACHABLE
    return "no server answered properly"


def _text(record: Any) -> str:
    """A PTR's name, an A's or AAAA's address, a TXT's strings as one."""
    if hasattr(record, "strings"):
        return clean_text(b"".join(record.strings), limit=MAX_TEXT_CHARS)
    if hasattr(record, "target"):
        return clean_text(record.target.to_text(omit_final_dot=True), limit=MAX_TEXT_CHARS).lstrip(
            "."
        )  # the root is no name
    return clean_text(record.to_text(), limit=MAX_TEXT_CHARS)

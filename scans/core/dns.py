"""The only module that asks DNS on behalf of intelligence sources: many questions at once, each under a deadline.

Names of targets are another matter: `resolve.py` asks the system for those. The answers are as hostile as any: they come
back as capped, clean text, and how many there may be is limited.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from scans.core.egress import SYSTEM_DNS, Gate
from scans.core.options import IntelOptions
from scans.core.text import clean_text

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver

MAX_RECORDS = 32  # of one answer
MAX_AT_ONCE = 64  # questions
MAX_TEXT_CHARS = 500
SECONDS = 2.0  # for one question; lists and reverse zones that are slower are not worth a report's time


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


class Dns:
    """Asks the configured resolvers, or the system's. For one request of a source; not shared between threads."""

    def __init__(self, gate: Gate, options: IntelOptions) -> None:
        self._gate = gate
        self._servers = options.dns_servers

    def ask(self, questions: Sequence[Question], *, seconds: float = SECONDS) -> list[Records]:
        """The answers in the order of the questions. Raises EgressRefusedError if the gate is shut."""
        for host, port in self._servers or ((SYSTEM_DNS, 53),):
            self._gate.permit_dns(host, port)
        import asyncio  # 20 ms at the start of every process otherwise

        return asyncio.run(self._ask_all(questions, seconds))

    async def _ask_all(self, questions: Sequence[Question], seconds: float) -> list[Records]:
        import asyncio

        resolver = self._resolver()
        turns = asyncio.Semaphore(MAX_AT_ONCE)

        async def one(question: Question) -> Records:
            async with turns:
                return await _answer(resolver, question, seconds)

        return await asyncio.gather(*map(one, questions))

    def _resolver(self) -> Resolver:
        from dns.asyncresolver import Resolver
        from dns.nameserver import Do53Nameserver

        resolver = Resolver(configure=not self._servers)
        if self._servers:
            resolver.nameservers = [Do53Nameserver(host, port) for host, port in self._servers]
        resolver.search = []
        resolver.cache = None
        return resolver


async def _answer(resolver: Resolver, question: Question, seconds: float) -> Records:
    import dns.exception
    import dns.resolver

    try:
        answer = await resolver.resolve(question.name, question.kind, lifetime=seconds, search=False)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return Records(state=DnsState.NOTHING)
    except dns.exception.Timeout:
        return Records(state=DnsState.FAILED, reason="no answer in time")
    except dns.resolver.NoNameservers:
        return Records(state=DnsState.FAILED, reason="no server answered properly")
    except Exception as error:  # noqa: BLE001 - the edge: a hostile reply can raise anything inside the library
        return Records(state=DnsState.FAILED, reason=f"the answer could not be read ({type(error).__name__})")
    texts = (_text(record) for record in islice(answer.rrset or (), MAX_RECORDS))
    found = tuple(dict.fromkeys(filter(None, texts)))
    return Records(state=DnsState.FOUND if found else DnsState.NOTHING, texts=found)


def _text(record: Any) -> str:
    """A PTR's name, an A's or AAAA's address, a TXT's strings as one."""
    said = b"".join(record.strings) if hasattr(record, "strings") else record.to_text()
    return clean_text(said, limit=MAX_TEXT_CHARS).rstrip(".")

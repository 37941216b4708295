"""Reverse DNS: the names that an address leads to, each confirmed by asking whether it leads back.

Whoever runs an address writes its PTR records and may claim any name there; only the owner of a name can make it lead
back (RFC 8601, 3, calls that "iprev"). So what is not confirmed stands apart, and is text of a stranger.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_address

from scans.core.budgets import Limit
from scans.core.dns import DnsState, Question, Records, is_down
from scans.core.intel.base import Answers, Outside, RemoteSource, SourceError
from scans.core.text import clean_text
from scans.core.types import Facts, IPAddress, SourceState

MAX_NAMES = 8  # of one address
MAX_NAME_CHARS = 255
_HOST_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})+")  # what is not shaped like one is not asked about

Pair = tuple[IPAddress, str]


class ReverseDns(RemoteSource):
    """PTR records, forward-confirmed."""

    name = "reverse-dns"
    title = "Reverse DNS"
    gives = "names that lead to the address and back, and names that it only claims"
    terms = "none; the name servers of the address's network and of those names are asked"
    is_default = True
    tells = "the address, and the names that it leads to"
    batch_size = 64
    max_requests = 2  # a batch is as slow as its slowest zone
    limits = (Limit(120, 60),)  # the resolver is the operator's own
    is_answered_by_targets = True
    lifetime_seconds = 24 * 3600
    empty_lifetime_seconds = 6 * 3600

    def lookup(self, addresses: Sequence[IPAddress], outside: Outside) -> Answers:
        """Ask about all addresses at once, and then about all their names."""
        answers = outside.dns.ask([Question(a.reverse_pointer, "PTR") for a in addresses])
        if is_down(answers):
            raise SourceError(SourceState.FAILED, answers[0].reason)
        said = dict(zip(addresses, answers, strict=True))
        names = {address: _names(records) for address, records in said.items()}
        pairs = [(address, name) for address, found in names.items() for name in found if _HOST_NAME.fullmatch(name)]
        questions = list(dict.fromkeys(map(_way_back, pairs)))
        back = dict(zip(questions, outside.dns.ask(questions), strict=True))
        confirmed = {pair for pair in pairs if _leads_to(pair[0], back[_way_back(pair)])}
        return Answers(facts={address: _facts(address, said[address], names[address], confirmed) for address in addresses})


def _names(records: Records) -> tuple[str, ...]:
    """In lower case, because DNS knows no other, and in an order that does not depend on the server's."""
    cleaned = {clean_text(name.lower(), limit=MAX_NAME_CHARS) for name in records.texts}
    return tuple(sorted(filter(None, cleaned))[:MAX_NAMES])


def _way_back(pair: Pair) -> Question:
    address, name = pair
    return Question(name, "A" if address.version == 4 else "AAAA")


def _leads_to(address: IPAddress, records: Records) -> bool:
    return any(ip_address(text) == address for text in records.texts)


def _facts(address: IPAddress, records: Records, names: Sequence[str], confirmed: set[Pair]) -> Facts | SourceError:
    if records.state is DnsState.FAILED:
        return SourceError(SourceState.FAILED, records.reason)
    kinds: Mapping[bool, list[str]] = {True: [], False: []}
    for name in names:
        kinds[(address, name) in confirmed].append(name)
    return Facts(host_names=tuple(kinds[True]) or None, unconfirmed_names=tuple(kinds[False]) or None)

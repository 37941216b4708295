"""Spamhaus ZEN over DNS: which of Spamhaus's lists name the address (RFC 5782).

An answer in 127.0.0.0/24 is a listing, and its last number says on which list. One in 127.255.255.0/24 is none: the
question was refused, because it came through a public resolver or there were too many (docs.spamhaus.com, "Return codes";
spamhaus.org/returnc). Taking every answer for a listing is the classic mistake; taking silence for a clean record is the
other: some resolvers answer NXDOMAIN for the whole zone. So each request also asks about the two addresses whose
answer is known (RFC 5782, 5): 127.0.0.2 is always listed, 127.0.0.1 never.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

from scans.core.budgets import Limit
from scans.core.dns import DnsState, Question, Records
from scans.core.intel.base import Answers, Outside, RemoteSource, SourceError
from scans.core.types import Facts, IPAddress, SourceState

ZONE = "zen.spamhaus.org"
LISTED, UNLISTED = ip_address("127.0.0.2"), ip_address("127.0.0.1")
LISTINGS, ERRORS = ip_network("127.0.0.0/24"), ip_network("127.255.255.0/24")
LISTS = {2: "SBL", 3: "CSS", 4: "XBL", 5: "XBL", 6: "XBL", 7: "XBL", 9: "DROP", 10: "PBL", 11: "PBL", 30: "BCL"}
POLICY_LISTS = {10, 11}  # networks that should not send mail by themselves, such as those of homes: no accusation
OWN_RESOLVER = "set DNS_SERVERS to a resolver of your own"
REFUSALS = {
    252: (SourceState.FAILED, f"{ZONE} is no list there"),
    254: (SourceState.UNAUTHORIZED, f"Spamhaus does not answer public resolvers: {OWN_RESOLVER}"),
    255: (SourceState.RATE_LIMITED, "Spamhaus says that this resolver asks too much"),
}


class Dnsbl(RemoteSource):
    """ZEN, which is all of Spamhaus's lists of addresses in one."""

    name = "dnsbl"
    title = "Spamhaus ZEN"
    gives = "block lists of Spamhaus that name it"
    terms = "free mirrors: low volume, non-commercial use, by a resolver of your own"
    is_default = False
    tells = f"the address, as a question to {ZONE}"
    batch_size = 32
    max_requests = 1  # each has many sockets open at once
    limits = (Limit(30, 60), Limit(2500, 86400))  # 85,000 questions a day
    lifetime_seconds = 6 * 3600
    empty_lifetime_seconds = 6 * 3600

    def lookup(self, addresses: Sequence[IPAddress], outside: Outside) -> Answers:
        """Ask about all addresses at once, and about the two whose answer is known."""
        asked = [LISTED, UNLISTED, *addresses]
        listed, unlisted, *said = outside.dns.ask([_question(address) for address in asked])
        _check(listed, unlisted)
        return Answers(facts={address: _facts(records) for address, records in zip(addresses, said, strict=True)})


def _question(address: IPAddress) -> Question:
    reversed_digits = address.reverse_pointer.rsplit(".", 2)[0]  # in-addr.arpa and ip6.arpa
    return Question(f"{reversed_digits}.{ZONE}", "A")


def _check(listed: Records, unlisted: Records) -> None:
    """Raises SourceError unless the two addresses are answered for as they must be."""
    for known in (listed, unlisted):
        if (error := _refusal(known)) is not None:
            raise error
    if not _codes(listed):
        raise SourceError(SourceState.FAILED, f"the list is not reached through this resolver: {OWN_RESOLVER}")
    if unlisted.texts:
        raise SourceError(SourceState.FAILED, f"this resolver invents answers: {OWN_RESOLVER}")


def _facts(records: Records) -> Facts | SourceError:
    if (error := _refusal(records)) is not None:
        return error
    codes = _codes(records)
    named = {code: f"Spamhaus {LISTS.get(code, f'ZEN, code {code}')}" for code in codes}
    return Facts(
        dns_lists=tuple(dict.fromkeys(name for code, name in named.items() if code not in POLICY_LISTS)) or None,
        policy_lists=tuple(dict.fromkeys(name for code, name in named.items() if code in POLICY_LISTS)) or None,
    )


def _refusal(records: Records) -> SourceError | None:
    """Why these are no answer about an address, if they are none."""
    if records.state is DnsState.FAILED:
        return SourceError(SourceState.FAILED, records.reason)
    answers = [ip_address(text) for text in records.texts]
    for answer in answers:
        if answer in ERRORS:
            state, reason = REFUSALS.get(answer.packed[-1], (SourceState.FAILED, "Spamhaus refused the question"))
            return SourceError(state, reason)
    if any(answer not in LISTINGS for answer in answers):
        return SourceError(SourceState.FAILED, f"this resolver invents answers: {OWN_RESOLVER}")
    return None


def _codes(records: Records) -> list[int]:
    return sorted(ip_address(text).packed[-1] for text in records.texts)

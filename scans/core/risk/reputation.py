"""What sources said of the addresses, as the facts that rules look at; each names the sources that say it.

Sources that disagree stand side by side, and what counts is the worse of what they say: a flag is true if any source
says so, a number is the highest (never a sum, because feeds copy from each other), a list is the union. One more source
or address therefore never lowers a score. A fact that no source states is not there: unknown is not false.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from scans.core.risk.fact import Fact
from scans.core.types import AddressReport, Facts, SourceState

SPEAKING_STATES = frozenset({SourceState.OK, SourceState.STALE})  # their facts count, an old answer's too
Said = list[tuple[str, Facts]]  # by which source


def reputation_facts(addresses: Iterable[AddressReport]) -> Mapping[str, Fact]:
    """The facts by the names that `rules.yaml` declares."""
    said = [
        (result.source, result.facts)
        for address in addresses
        for result in address.sources
        if result.state in SPEAKING_STATES
    ]
    stated = {
        **{name: _flag(said, is_so) for name, is_so in _FLAGS.items()},
        **{name: _highest(said, value) for name, value in _NUMBERS.items()},
        **{name: _union(said, items) for name, items in _LISTS.items()},
    }
    return {name: fact for name, fact in stated.items() if fact}


def _is_on_drop(facts: Facts) -> bool | None:
    return True if facts.drop_network else None


def _is_malicious(facts: Facts) -> bool | None:
    return facts.classification == "malicious" if facts.classification else None


def _is_anonymiser(facts: Facts) -> bool | None:
    given = [said for said in (facts.is_proxy, facts.is_tor_exit) if said is not None]
    return any(given) if given else None


_FLAGS: Mapping[str, Callable[[Facts], bool | None]] = {
    "intel.spamhaus_drop": _is_on_drop,
    "intel.greynoise_malicious": _is_malicious,
    "intel.anonymiser": _is_anonymiser,
}
_NUMBERS: Mapping[str, Callable[[Facts], float | None]] = {
    "intel.abuse_score": lambda facts: facts.abuse_score,
    "intel.vendor_flags": lambda facts: facts.vendor_flags,
}
_LISTS: Mapping[str, Callable[[Facts], tuple[str, ...] | None]] = {
    "intel.dnsbl": lambda facts: facts.dns_lists,  # policy_lists are no accusation
}
FACT_NAMES = frozenset({*_FLAGS, *_NUMBERS, *_LISTS})


def _flag(said: Said, is_so: Callable[[Facts], bool | None]) -> Fact | None:
    """True if any source says so, false if one denies it and none confirms."""
    by_answer: dict[bool, set[str]] = {}
    for source, facts in said:
        if (answer := is_so(facts)) is not None:
            by_answer.setdefault(answer, set()).add(source)
    if not by_answer:
        return None
    value = True in by_answer
    return Fact(value=value, sources=tuple(sorted(by_answer[value])))


def _highest(said: Said, value: Callable[[Facts], float | None]) -> Fact | None:
    """The highest number, and who says that one."""
    given = [(number, source) for source, facts in said if (number := value(facts)) is not None]
    if not given:
        return None
    most = max(number for number, _ in given)
    return Fact(value=most, sources=tuple(sorted({source for number, source in given if number == most})))


def _union(said: Said, items: Callable[[Facts], tuple[str, ...] | None]) -> Fact | None:
    """What any source says, each once; sources that name nothing do not stand for it."""
    given = [(found, source) for source, facts in said if (found := items(facts)) is not None]
    if not given:
        return None
    value = tuple(sorted({item for found, _ in given for item in found}))
    return Fact(value=value, sources=tuple(sorted({source for found, source in given if found or not value})))

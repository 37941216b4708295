"""What sources say about one address, side by side: in lines for people, and as one identity for clients.

    sources[] of the stored evidence ─┬─► merged() ─► service_category()    each fact from the first source that has it
                                      └─► told()                            each answer with its source; none is overwritten

A source is a dict as `evidence_dict` in wire.py writes it; of its facts only those that it said are there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from scans.core.types import Facts, SourceState

Json = Mapping[str, Any]

SPEAKING_STATES = frozenset({SourceState.OK, SourceState.STALE})
MAX_LISTED = 12  # of a list in a line; the JSON has them all
FLAGS = {  # yes, no, and by which name it is missed
    "is_hosting": ("hosting", "not hosting", "hosting"),
    "is_proxy": ("proxy, VPN or Tor exit", "no proxy, VPN or Tor exit", "proxy"),
    "is_mobile": ("mobile", "not mobile", "mobile"),
}
NOTHING_SAID: Json = {known.name: None for known in fields(Facts)}
REGISTRIES = {"arin": "ARIN", "ripencc": "RIPE NCC", "apnic": "APNIC", "lacnic": "LACNIC", "afrinic": "AFRINIC"}
CATEGORIES = {"is_proxy": "Proxy / VPN", "is_mobile": "Mobile Network", "is_hosting": "Hosting Provider"}
NAMED_SO = (  # what the name of an AS tells, where no source said yes or no
    ("is_hosting", re.compile(r"\b(?:hosting|cloud|datacent(?:er|re)|servers?|vps|colocation)", re.IGNORECASE)),
    ("is_mobile", re.compile(r"\b(?:mobile|wireless|cellular|gsm)\b", re.IGNORECASE)),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """Facts that are read together."""

    label: str
    names: tuple[str, ...]  # of the facts
    words: Callable[[Json], str]  # of one source's facts; "" if it said none of them
    compared: tuple[str, ...] = ()  # of which two sources cannot both be right if they say different things


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What one source says on a line."""

    words: str
    source: Json
    agreeing: tuple[str, ...] = ()  # other sources that say no more and nothing else


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """All answers on one line, the first source first."""

    label: str
    answers: tuple[Answer, ...] = field(default=())
    is_disputed: bool = False


def speaking(sources: Iterable[Json]) -> list[Json]:
    """Those that said something, an old answer included."""
    return [source for source in sources if source["state"] in SPEAKING_STATES]


def merged(sources: Iterable[Json]) -> dict[str, Any]:
    """Every fact, from the first source that says it, or None. A region is that of the cloud it stands beside."""
    facts = dict(NOTHING_SAID)
    for source in speaking(sources):
        said = source["facts"]
        is_other_cloud = facts["cloud_provider"] is not None
        for name, value in said.items():
            if facts.get(name) is None and not (is_other_cloud and name.startswith("cloud_")):
                facts[name] = value
    return facts


def service_category(facts: Json) -> str | None:
    """What kind of place an address is, in the words that clients know; None if nobody says."""
    if facts["is_cdn"]:
        return "CDN"
    if facts["cloud_provider"]:
        return f"Cloud ({facts['cloud_region']})" if facts["cloud_region"] else "Cloud"
    if facts["is_tor_exit"]:
        return "Tor exit"
    if flag := next((flag for flag in CATEGORIES if facts[flag]), None):
        return CATEGORIES[flag]
    named = facts["as_name"] or ""
    return next((CATEGORIES[flag] for flag, told in NAMED_SO if facts[flag] is None and told.search(named)), None)


def told(sources: Iterable[Json], lines: Iterable[Line]) -> list[Told]:
    """What stands on each line that somebody says something on."""
    speakers = speaking(sources)
    found = (_told(line, speakers) for line in lines)
    return [one for one in found if one.answers]


def _told(line: Line, speakers: Sequence[Json]) -> Told:
    """An answer stands alone unless it adds nothing to one before it."""
    kept: list[Answer] = []
    for source in speakers:
        words = line.words(source["facts"])
        if not words:
            continue
        same = next((at for at, answer in enumerate(kept) if _adds_nothing(line, answer, words, source)), None)
        if same is None:
            kept.append(Answer(words=words, source=source))
        else:
            first = kept[same]
            kept[same] = Answer(words=first.words, source=first.source, agreeing=(*first.agreeing, source["source"]))
    facts = [answer.source["facts"] for answer in kept]
    disputed = any(_contradict(line, one, other) for at, one in enumerate(facts) for other in facts[:at])
    return Told(label=line.label, answers=tuple(kept), is_disputed=disputed)


def _adds_nothing(line: Line, answer: Answer, words: str, source: Json) -> bool:
    if words.casefold() == answer.words.casefold():
        return True
    known, new = answer.source["facts"], source["facts"]
    common = [name for name in line.compared if known.get(name) is not None and new.get(name) is not None]
    is_more = any(new.get(name) is not None and known.get(name) is None for name in line.names)
    return bool(common) and not is_more and not _contradict(line, known, new)


def _contradict(line: Line, one: Json, other: Json) -> bool:
    both = [name for name in line.compared if one.get(name) is not None and other.get(name) is not None]
    return any(_plain(one[name]) != _plain(other[name]) for name in both)


def _plain(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value


# The lines


def _text(name: str) -> Callable[[Json], str]:
    return lambda facts: str(facts.get(name) or "")


def _list(name: str) -> Callable[[Json], str]:
    return lambda facts: listed(facts.get(name) or ())


def listed(items: Sequence[Any]) -> str:
    """The first few of a list, and how many there are beyond."""
    more = f" and {len(items) - MAX_LISTED:,} more" if len(items) > MAX_LISTED else ""
    return ", ".join(map(str, items[:MAX_LISTED])) + more


def _joined(*parts: object, by: str = " ") -> str:
    return by.join(str(part) for part in parts if part)


def _as(facts: Json) -> str:
    return _joined(f"AS{facts['asn']}" if facts.get("asn") else "", facts.get("as_name"))


def _registered(facts: Json) -> str:
    registry = REGISTRIES.get(facts.get("registry", ""), facts.get("registry"))
    country = facts.get("registered_country")
    return _joined(registry, f"registered in {country}" if country else "", by=", ")


def _place(facts: Json) -> str:
    return _joined(facts.get("city"), facts.get("region"), facts.get("country") or facts.get("country_code"), by=", ")


def _coordinates(facts: Json) -> str:
    latitude, longitude = facts.get("latitude"), facts.get("longitude")
    where = f"{latitude:.2f}, {longitude:.2f}" if latitude is not None and longitude is not None else ""
    return _joined(facts.get("timezone"), where, by="; ")


def _kind(facts: Json) -> str:
    """Yes, no and "did not say", which are three answers; nothing at all if no flag was set either way."""
    said = [yes if facts[flag] else no for flag, (yes, no, _) in FLAGS.items() if facts.get(flag) is not None]
    unsaid = [name for flag, (*_, name) in FLAGS.items() if facts.get(flag) is None]
    if not said:
        return ""
    text = "; ".join([*said, f"not said: {', '.join(unsaid)}"] if unsaid else said)
    return text[:1].upper() + text[1:]


def _tor(facts: Json) -> str:
    is_exit = facts.get("is_tor_exit")
    return "" if is_exit is None else "An exit of the Tor network" if is_exit else "No exit of the Tor network"


def _cloud(facts: Json) -> str:
    place = _joined(facts.get("cloud_provider"), facts.get("cloud_service"), facts.get("cloud_region"), by=", ")
    group = facts.get("cloud_border_group")
    details = _joined(
        f"in {facts['cloud_network']}" if facts.get("cloud_network") else "",
        f"announced from {group}" if group and group != facts.get("cloud_region") else "",
        f"listed for {listed(facts['cloud_services'])}" if facts.get("cloud_services") else "",
        by=", ",
    )
    edge = "an edge of a CDN: what is seen here is the edge's, not the origin's" if facts.get("is_cdn") else ""
    return _joined(place, details, edge, by="; ")


def _abuse(facts: Json) -> str:
    score, reports = facts.get("abuse_score"), facts.get("abuse_reports")
    return _joined(
        f"{score} of 100" if score is not None else "",
        f"{reports:,} report{'' if reports == 1 else 's'}" if reports is not None else "",
        by=", ",
    )


def _flagged(facts: Json) -> str:
    count = facts.get("vendor_flags")
    return "" if count is None else f"{count:,} engine{'' if count == 1 else 's'} or list{'' if count == 1 else 's'}"


def _classified(facts: Json) -> str:
    return _joined(facts.get("classification"), facts.get("classified_as"), by=": ")


def _pulses(facts: Json) -> str:
    count = facts.get("pulses")
    return "" if count is None else f"{count:,} mention it; well-known networks have many"


IDENTITY = (
    Line(label="Organisation", names=("organisation",), words=_text("organisation")),
    Line(label="Provider", names=("isp",), words=_text("isp")),
    Line(label="Network", names=("asn", "as_name"), words=_as, compared=("asn",)),
    Line(
        label="Place", names=("city", "region", "country"), words=_place, compared=("country_code", "city")
    ),
    Line(label="Kind of network", names=tuple(FLAGS), words=_kind, compared=tuple(FLAGS)),
    Line(
        label="Cloud or CDN", words=_cloud,
        names=(
            "cloud_provider", "cloud_service", "cloud_region", "cloud_network", "cloud_services", "cloud_border_group",
            "is_cdn",
        ),
        compared=("cloud_provider", "cloud_region", "is_cdn"),
    ),
    Line(label="Tor", names=("is_tor_exit",), words=_tor, compared=("is_tor_exit",)),
    Line(label="Host names, confirmed", names=("host_names",), words=_list("host_names")),
    Line(label="Host names, not confirmed", names=("unconfirmed_names",), words=_list("unconfirmed_names")),
    Line(
        label="Address range", names=("network", "network_name"),
        words=lambda facts: _joined(facts.get("network"), facts.get("network_name")),  # one registered, another announced
    ),
    Line(
        label="Registry", names=("registry", "registered_country"), words=_registered,
        compared=("registry", "registered_country"),
    ),
    Line(label="Abuse contact", names=("abuse_contact",), words=_text("abuse_contact")),
    Line(
        label="Time zone and coordinates", names=("timezone", "latitude", "longitude"), words=_coordinates,
        compared=("timezone",),
    ),
)  # fmt: skip
REPUTATION = (
    Line(label="Spamhaus DROP", names=("drop_network",), words=_text("drop_network")),
    Line(label="DNS block lists", names=("dns_lists",), words=_list("dns_lists")),
    Line(label="Block lists", names=("block_lists",), words=_list("block_lists")),
    Line(label="Abuse score", names=("abuse_score", "abuse_reports"), words=_abuse),
    Line(label="Classified as", names=("classification", "classified_as"), words=_classified, compared=("classification",)),
    Line(label="Flagged by", names=("vendor_flags",), words=_flagged),
    Line(label="Threat reports", names=("pulses",), words=_pulses),
    Line(label="Policy lists, which accuse nobody", names=("policy_lists",), words=_list("policy_lists")),
)
SEEN = (
    Line(label="Ports", names=("seen_ports",), words=_list("seen_ports")),
    Line(label="Products", names=("seen_products",), words=_list("seen_products")),
    Line(label="Vulnerabilities, inferred from versions", names=("seen_cves",), words=_list("seen_cves")),
    Line(label="Names", names=("seen_names",), words=_list("seen_names")),
    Line(label="Tags", names=("tags",), words=_list("tags")),
)
SAYS_SO_ITSELF = frozenset({"Organisation", "Provider", "Network", "Place", "Kind of network", "Cloud or CDN", "Tor"})


def in_words(source: Json, lines: Iterable[Line] = (*IDENTITY, *REPUTATION, *SEEN)) -> list[str]:
    """All that one source says, each line with its label where the words need one."""
    said = ((line.label, line.words(source["facts"])) for line in lines)
    return [words if label in SAYS_SO_ITSELF else f"{label}: {words}" for label, words in said if words]

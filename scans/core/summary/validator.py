"""Does the model's answer keep to the form and to the facts? If not, it is rejected as a whole.

1. Form: one JSON object (a code fence around it is taken off) with exactly the four fields, typed and capped. Of an
   answer about several targets each part is checked by itself, and one that is rejected costs the others nothing.
2. Level: the one given. A lower one is a contradiction; a higher one would stand beside ours and confuse.
3. Citations: facts that were given, and at least one; if a rule fired, one that states a rule.
4. Prose: no port, number, vulnerability, rule, service, address or host that the facts do not hold; nothing that was
   said about another target; no markup or link; no word that talks the level down.

The prose checks err towards rejecting: the price of a good sentence lost is the deterministic text. The reasons hold
nothing of the answer but numbers and identifiers, so they can be shown and logged.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from scans.core.risk.levels import rank
from scans.core.summary.facts import CVE, RULE_ID, ModelFacts
from scans.core.summary.prompt import INSTRUCTION, MAX_RECOMMENDATION_CHARS, MAX_SUMMARY_CHARS, target_key
from scans.core.text import clean_text
from scans.core.types import Level

MAX_ANSWER_CHARS = 20_000  # for each target
FIELDS = ("risk_level", "risk_summary", "recommendation", "cited_facts")


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """An answer that may be shown, as plain text."""

    level: Level
    text: str
    recommendation: str | None
    cited_facts: tuple[str, ...]  # by their numbers
    cited_rules: tuple[str, ...]  # that these state

    @property
    def answer(self) -> str:
        """The answer again, without what was cleaned away: it passes as this one did."""
        fields = (self.level.value, self.text, self.recommendation or "", list(self.cited_facts))
        return json.dumps(dict(zip(FIELDS, fields, strict=True)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejection:
    """Why an answer may not be shown."""

    reason: str


def validate(answer: str, facts: ModelFacts, *, strange: frozenset[str] = frozenset()) -> Accepted | Rejection:
    """Check one answer against the facts it was given. `strange`: what was said about others, in lower case."""
    fields = _fields(answer)
    if isinstance(fields, Rejection):
        return fields
    level, summary, recommendation, cited = fields
    prose = _plain(f"{summary}\n{recommendation}")
    reason = _wrong_level(level, facts) or _wrong_citation(cited, facts) or _first(CHECKS, prose, facts)
    reason = reason or _first(SUMMARY_CHECKS, _plain(summary), facts) or _overheard(prose, strange)
    if reason:
        return Rejection(reason=reason)
    cited_facts = tuple(dict.fromkeys(cited))
    rules = dict.fromkeys(facts.rule_of[fact] for fact in cited_facts)
    return Accepted(
        level=facts.level,
        text=summary,
        recommendation=recommendation or None,
        cited_facts=cited_facts,
        cited_rules=tuple(rule for rule in rules if rule),
    )


def split_answer(answer: str, targets: int) -> list[str] | Rejection:
    """The answers that one about several targets consists of, each as text; "" for a target that it leaves out."""
    if len(answer) > MAX_ANSWER_CHARS * targets:
        return Rejection(reason="the answer is too long")
    parts = _parsed(answer)
    if isinstance(parts, Rejection):
        return parts
    keys = [target_key(place) for place in range(targets)]
    if not isinstance(parts, dict) or not any(key in parts for key in keys):
        return Rejection(reason="the answer does not hold the targets asked about")
    return [json.dumps(parts[key]) if key in parts else "" for key in keys]


def strangers(many: Sequence[ModelFacts]) -> list[frozenset[str]]:
    """For each target what was said about the others and not about itself. A word that we use ourselves proves nothing."""
    everything = frozenset(saying for facts in many for saying in facts.said if saying not in INSTRUCTION.lower())
    return [frozenset(saying for saying in everything if saying not in facts.text.lower()) for facts in many]


Check = Callable[[str, ModelFacts], str | None]
Fields = tuple[str, str, str, list[str]]


def _first(checks: Iterable[Check], prose: str, facts: ModelFacts) -> str | None:
    return next((reason for check in checks if (reason := check(prose, facts))), None)


# Form


def _fields(answer: str) -> Fields | Rejection:
    if not answer:
        return Rejection(reason="the answer leaves this target out")
    if len(answer) > MAX_ANSWER_CHARS:
        return Rejection(reason="the answer is too long")
    raw = _parsed(answer)
    if isinstance(raw, Rejection):
        return raw
    if not isinstance(raw, dict) or raw.keys() != set(FIELDS):
        return Rejection(reason="the answer does not have the fields asked for")
    texts = [raw["risk_level"], raw["risk_summary"], raw["recommendation"]]
    cited = raw["cited_facts"]
    if not all(isinstance(text, str) for text in texts) or not isinstance(cited, list):
        return Rejection(reason="a field of the answer has the wrong type")
    if not all(isinstance(fact, str) for fact in cited):
        return Rejection(reason="a field of the answer has the wrong type")
    level, summary, recommendation = texts[0], *(clean_text(text, limit=MAX_ANSWER_CHARS) for text in texts[1:])
    if not summary:
        return Rejection(reason="the summary is empty")
    if len(summary) > MAX_SUMMARY_CHARS or len(recommendation) > MAX_RECOMMENDATION_CHARS:
        return Rejection(reason="a text of the answer is too long")
    return level, summary, recommendation, cited


def _parsed(answer: str) -> Any:  # or a Rejection
    try:
        return json.loads(_unfenced(answer))
    except (ValueError, RecursionError):
        return Rejection(reason="the answer is not JSON")


def _unfenced(answer: str) -> str:
    match = re.fullmatch(r"\s*```(?:json)?[ \t]*\n(.*)\n```\s*", answer, re.DOTALL | re.IGNORECASE)
    return match[1] if match else answer


def _wrong_level(level: str, facts: ModelFacts) -> str | None:
    if level not in list(Level):
        return "the answer gives no known risk level"
    if level != facts.level:
        side = "below" if rank(Level(level)) < rank(facts.level) else "above"
        return f"the answer contradicts the level: {level} is {side} {facts.level}"
    return None


def _wrong_citation(cited: list[str], facts: ModelFacts) -> str | None:
    if any(fact not in facts.rule_of for fact in cited):
        return "the answer cites a fact that was not given"
    if facts.rules and not any(facts.rule_of[fact] for fact in cited):
        return "the answer cites no rule that fired"
    return "the answer cites no fact" if facts.rule_of and not cited else None


# Prose, as `_plain` leaves it: compatibility forms folded (a full-width digit is a digit), lower case, a host name or
# address written apart ("evil[.]example", "evil dot example") put together again.

_APART = re.compile(r"\s*(?:\[\s*\.\s*\]|\(\s*\.\s*\)|[\[(]\s*dot\s*[\])]|\bdot\b|。)\s*")
_NUMBERS = r"\d+(?:\s*(?:,|and|or|&|/|-|–|to|,\s*and)\s*\d+)*"
_PORTS = (
    re.compile(rf"\bports?\s*(?:numbers?\s*)?[:#]?\s*({_NUMBERS})"),
    re.compile(r"\b(\d+)\s*/\s*(?:tcp|udp)\b"),
    re.compile(r"\b(?:tcp|udp)[\s/:-]*(\d+)"),
    re.compile(r"\w:(\d+)\b"),
)
_NOT_A_CLAIM = re.compile(  # numbers that say nothing about the target
    r"\b\d{1,3}(?:\s*(?:-|–|to)\s*\d{1,3})?[\s-]*(?:hours?|days?|weeks?|months?|minutes?|years?|%|percent)(?!\w)"
    r"|\b24\s*[x/]\s*7\b"
    r"|\b(?:tls|ssl|smb|snmp|nfs|ssh|http/|v|ipv|oauth)\s?v?\d(?:\.\d)?(?![\d.])"
    r"|\b(?:sha|aes)[\s-]?\d{3}\b|\brsa[\s-]?\d{4}\b|\bp-\d{3}\b|\b\d{3,4}[\s-]bit\b|\bx\.?509\b|\b(?:ed|curve)25519\b"
    r"|(?<![\d.])\d\.\d(?![\d.])"
)
_IPV4 = re.compile(r"\d{1,3}(?:\s?\.\s?\d{1,3}){3}")
_IPV6 = re.compile(r"(?<![\w:])(?=[0-9a-f]*:[0-9a-f]*:)(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}")
_HOST = re.compile(r"(?<![\w-])(?:[\w-]{1,63}\.)+(?!(?:conf|cnf|cfg|ini|ya?ml|json|config|js)\b)[^\W\d_]{2,24}\b")
_MARKUP = re.compile(
    r"<\s*[a-z!/?]|\]\s*\(|!\s*\[|`|\b[a-z][a-z0-9+.-]*://|\b(?:www\.|javascript:|data:|mailto:|hxxps?)|&#?\w+;"
)
_OTHER_IDS = re.compile(r"\b(?:ms\d{2}-\d{3}|ghsa(?:-\w{4}){3}|cwe-\d+|edb-\d+|zdi-\d+-\d+)\b")
_KNOWN_FLAWS = re.compile(
    r"\b(?:log4shell|heartbleed|eternalblue|bluekeep|shellshock|spectre|meltdown|poodle|zerologon|proxyshell|"
    r"proxylogon|regresshion|dirtypipe|printnightmare|citrixbleed|smbghost)\b"
)
_FACT_ID = re.compile(r"\b(f\d{1,3})\b")
_SERVICES = re.compile(
    r"\b(?:ftp|ssh|telnet|smtp|pop3|imap|smb|ldap|mssql|oracle|pptp|nfs|docker|kubernetes|mysql|mariadb|rdp|postgres(?:ql)?|"
    r"vnc|redis|mongodb|elasticsearch|memcached|cassandra|rabbitmq|kafka|mqtt|modbus|snmp|winrm|jenkins|etcd|"
    r"remote\sdesktop)\b"
)
_LEVELS = {
    "none": 0, "no": 0, "unknown": 0, "negligible": 1, "minimal": 1, "little": 1, "low": 1, "lower": 1,
    "medium": 2, "moderate": 2, "high": 3, "critical": 4, "severe": 4,
}  # fmt: skip
_LEVEL_WORDS = "|".join(_LEVELS)
_ADJECTIVE = re.compile(
    rf"(?<!not )(?<!not a )\b({_LEVEL_WORDS})[\s-]+(?:level |overall |security )?(?:risk|severity|danger)\b"
)
_STATEMENT = re.compile(
    rf"\b(?:risk|severity|level|rated|rating|score)(?:\s+level)?(?:\s+(?:is|of|as|at|was|remains|rated|assessed))*\s*[:=]?\s*"
    rf"({_LEVEL_WORDS})\b|^\W*({_LEVEL_WORDS})(?:\s*[:–—]|\s+-\s)"
)
_REASSURANCE = re.compile(
    r"\b(?:is|are|looks?|appears?|seems?|remains?)\s+(?!not\b)(?:\w+\s+)?(?:safe|harmless|benign|clean|secure|trustworthy)\b"
    r"|\bno\s+(?:\w+\s+)?(?:actions?|risks?|concerns?|problems?|threats?|changes?|remediation)\b"
    r"|\bnothing\s+to\s+(?:worry|fix|do)\b|\bfalse\s+(?:positive|alarm)s?\b|\b(?:ignore|disregard)\b"
)


def _plain(text: str) -> str:
    return _APART.sub(".", unicodedata.normalize("NFKC", text)).casefold()


def _markup(prose: str, _: ModelFacts) -> str | None:
    return "the answer holds markup or a link" if _MARKUP.search(prose) else None


def _vulnerabilities(prose: str, facts: ModelFacts) -> str | None:
    for name in CVE.findall(re.sub(r"[‐-―−]", "-", prose)):
        if name.casefold() not in facts.cves:
            return f"the answer names {name.upper()}, which is not in the facts"
    if _OTHER_IDS.search(prose) or _KNOWN_FLAWS.search(prose) or (not facts.cves and re.search(r"\bcves?\b", prose)):
        return "the answer names a vulnerability that is not in the facts"
    return None


def _rules(prose: str, facts: ModelFacts) -> str | None:
    fired = {rule.casefold() for rule in facts.rules}
    unknown = [name for name in RULE_ID.findall(prose) if name not in fired and name not in facts.services]  # iec-104
    return f"the answer names {unknown[0].upper()}, a rule that did not fire" if unknown else None


def _facts(prose: str, facts: ModelFacts) -> str | None:
    """A fact may be named by its number; "F5" can also be a product."""
    unknown = [number.upper() for number in _FACT_ID.findall(prose) if number.upper() not in facts.rule_of]
    return f"the answer names {unknown[0]}, which is not in the facts" if unknown else None


def _addresses(prose: str, _: ModelFacts) -> str | None:
    """The facts hold neither addresses nor host names, so any of them is invented or overheard."""
    if _IPV4.search(prose) or _IPV6.search(prose):
        return "the answer names an address, and the facts hold none"
    return "the answer names a host, and the facts hold none" if _HOST.search(prose) or "@" in prose else None


def _ports(prose: str, facts: ModelFacts) -> str | None:
    for pattern in _PORTS:
        for found in pattern.findall(prose):
            unknown = [port for port in map(int, re.findall(r"\d{1,9}", found)) if port not in facts.ports]
            if unknown:
                return f"the answer names port {unknown[0]}, which is not in the facts"
    return None


def _numbers(prose: str, facts: ModelFacts) -> str | None:
    """A port can be named without the word. Below 10 a number counts things."""
    for pattern in (CVE, RULE_ID, _FACT_ID, _NOT_A_CLAIM):  # the first three are looked at by themselves
        prose = pattern.sub(" ", prose)
    for digits in re.findall(r"\d+", prose):
        number = int(digits[:9])
        if len(digits) > 9 or (number >= 10 and number not in facts.numbers):
            return f"the answer names the number {number}, which is not in the facts"
    return None


def _leak(prose: str, _: ModelFacts) -> str | None:
    """Eight words in a row of the instruction are no coincidence."""
    told, said = (re.findall(r"\w+", text) for text in (INSTRUCTION.casefold(), prose))
    known = {tuple(told[n : n + 8]) for n in range(len(told) - 7)}
    return (
        "the answer repeats its instruction" if any(tuple(said[n : n + 8]) in known for n in range(len(said) - 7)) else None
    )


def _services(summary: str, facts: ModelFacts) -> str | None:
    """Only in the summary: a recommendation may well say "use SSH instead"."""
    unknown = [name for name in _SERVICES.findall(summary) if name not in facts.services]
    return f"the answer names {unknown[0]}, which is not in the facts" if unknown else None


def _level_words(summary: str, facts: ModelFacts) -> str | None:
    own = rank(facts.level)
    stated = [_LEVELS[first or second] for first, second in _STATEMENT.findall(summary)]
    called = [_LEVELS[word] for word in _ADJECTIVE.findall(summary)]
    if any(level != own for level in stated) or any(level < own for level in called):
        return "the answer contradicts the level in words"
    if facts.level is Level.UNKNOWN and any(called):
        return "the answer gives a level to what was not observed"
    return None


def _reassurance(prose: str, _: ModelFacts) -> str | None:
    return "the answer talks the risk down" if _REASSURANCE.search(prose) else None


def _overheard(prose: str, strange: Iterable[str]) -> str | None:
    """What was said about one target must not turn up in the words about another."""
    if any(re.search(rf"(?<!\w){re.escape(saying)}(?!\w)", prose) for saying in map(_plain, strange)):
        return "the answer repeats what was said about another target"
    return None


CHECKS: tuple[Check, ...] = (_markup, _vulnerabilities, _rules, _facts, _addresses, _ports, _numbers, _leak, _reassurance)
SUMMARY_CHECKS: tuple[Check, ...] = (_services, _level_words)

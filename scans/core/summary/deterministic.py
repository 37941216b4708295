"""The words that are always there: made from the report alone, the same for the same report.

    "High: database listener on 5432 (PostgreSQL). 24 of 24 ports answered."
    "Nothing was observed: all 24 probes timed out. This is not a low risk."

At most three sentences: the level with its worst reasons, what was looked at, and which look-up failed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from scans.core.risk.completeness import ANSWERED_STATES, source_doubts
from scans.core.risk.words import port_list, service_list
from scans.core.text import clean_text
from scans.core.types import AddressReport, Finding, Level, PortState, Summary, SummaryState, Target, Verdict

MAX_REASONS = 3
MAX_TEXT_CHARS = 1000
UNNAMED = "unknown"  # what the port catalogue says of a port that nobody listed
NOTHING_SENT = "Not one packet went to it."
SILENCE = {
    PortState.FILTERED: "timed out",
    PortState.UNREACHABLE: "found no way to it",
    PortState.ERROR: "failed on this machine",
    PortState.NOT_TESTED: "never started",
    PortState.REFUSED: "met the scope policy",
}


def summarise(target: Target, addresses: Sequence[AddressReport], verdict: Verdict) -> Summary:
    """The summary of a finished scan."""
    reasons = _reasons(verdict.findings)
    sentences = [*_observations(addresses, verdict.level, reasons), _lookups(addresses)]
    text = " ".join(sentence for sentence in sentences if sentence)
    advice = " ".join(dict.fromkeys(_sentence(finding.remediation) for finding in reasons))
    return _summary(text or f"Nothing is known about {target.host}.", clean_text(advice, limit=MAX_TEXT_CHARS) or None)


def failed(target: Target, error_code: str, error: str) -> Summary:
    """The summary of a target that was not scanned: what failed, or which rule refused it and what to do."""
    text = clean_text(error, limit=MAX_TEXT_CHARS) or f"The scan of {target.host} failed: {error_code}."
    if error_code.startswith("refused") and NOTHING_SENT.lower().rstrip(".") not in text.lower():
        text = f"{_sentence(text)} {NOTHING_SENT}"
    return _summary(text, None)


def _summary(text: str, recommendation: str | None) -> Summary:
    text = clean_text(text, limit=MAX_TEXT_CHARS)
    return Summary(state=SummaryState.DETERMINISTIC, text=text, recommendation=recommendation, deterministic_text=text)


def _observations(addresses: Sequence[AddressReport], level: Level, reasons: Sequence[Finding]) -> list[str]:
    coverage = _coverage(addresses)
    if level is Level.UNKNOWN:
        why = "; ".join(filter(None, (_everywhere(addresses), _silence(addresses)))) or "no port was probed"
        return [f"Nothing was observed: {why}. This is not a low risk."]
    if reasons:
        return [f"{level.capitalize()}: {'; '.join(map(_reason, reasons))}.", f"{_capital(coverage)}."]
    return [f"{_capital(coverage)}. Not a promise of safety."]


def _reasons(findings: Sequence[Finding]) -> list[Finding]:
    """The worst findings, without those whose ports the worse ones have already named."""
    reasons: list[Finding] = []
    named: set[int] = set()
    for finding in findings:
        if finding.ports and named.issuperset(finding.ports):
            continue
        reasons.append(finding)
        named.update(finding.ports)
    return reasons[:MAX_REASONS]


def _reason(finding: Finding) -> str:
    """A clause: "PostgreSQL on 5432 (database listener)"; a service without a name, or named by the title, is left out."""
    title = finding.title
    if title[1:2].islower():  # an acronym keeps its capitals
        title = title[0].lower() + title[1:]
    if not finding.ports:
        return f"{title} ({finding.evidence.rstrip('.')})"
    services = service_list(finding.ports)
    if services == UNNAMED or services.lower() in title.lower():
        return f"{title} on {port_list(finding.ports)}"
    return f"{services} on {port_list(finding.ports)} ({title})"


def _coverage(addresses: Sequence[AddressReport]) -> str:
    """What was looked at: "20 of 24 ports answered, all closed; 4 probes timed out".

    A name with two addresses is probed twice on each port: then it is probes that are counted.
    """
    states = [probe.state for address in addresses for probe in address.probes]
    answered = sum(state in ANSWERED_STATES for state in states)
    if not states:
        return "no port was probed"
    if not answered:
        return f"no port answered: {_silence(addresses)}"
    closed = "" if PortState.OPEN in states else ", all closed"
    rest = f"; {_silence(addresses)}" if answered < len(states) else ""
    what = "ports" if len(addresses) == 1 else "probes"
    everywhere = f"; {_everywhere(addresses)}" if _everywhere(addresses) else ""
    return f"{answered} of {len(states)} {what} answered{closed}{rest}{everywhere}"


def _everywhere(addresses: Sequence[AddressReport]) -> str:
    """Who accepts connections on every port, as a clause; "" if nobody does."""
    count = sum(bool(address.answers_everywhere) for address in addresses)
    if not count:
        return ""
    who = "the host answers" if len(addresses) == 1 else f"{count} of {len(addresses)} addresses answer"
    return f"{who} everywhere, so an open port alone shows no service"


def _silence(addresses: Sequence[AddressReport]) -> str:
    """What became of the probes that nobody answered: "all 24 probes timed out"; "" if there are none."""
    states = Counter(probe.state for address in addresses for probe in address.probes)
    total = states.total()
    silent = {state: states[state] for state in SILENCE if states[state]}
    if len(silent) == 1 and states[next(iter(silent))] == total:
        return f"{'the only probe' if total == 1 else f'all {total} probes'} {SILENCE[next(iter(silent))]}"
    return ", ".join(f"{n} probe{'s' if n > 1 else ''} {SILENCE[state]}" for state, n in silent.items())


def _lookups(addresses: Sequence[AddressReport]) -> str:
    """One sentence that names every look-up without a fresh answer."""
    doubts = [doubt.rstrip(".") for doubt in source_doubts(addresses)]
    return f"{'; '.join(doubts)}." if doubts else ""


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

"""A model's words about a host: what it was shown, what it relied on, and why there are none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django import template

from scans.core.summary.facts import facts_for
from scans.core.types import SummaryState
from scans.selectors import instruction_of

register = template.Library()

Json = Mapping[str, Any]

ANSWERED_STATES = frozenset({SummaryState.WRITTEN, SummaryState.REJECTED})
NO_WORDS = {
    SummaryState.DETERMINISTIC: "No model was asked for this job.",
    SummaryState.NO_KEY: "No key for the model is configured: the operator sets GEMINI_API_KEY.",
    SummaryState.SKIPPED: "The model was not asked.",
    SummaryState.RATE_LIMITED: "No call to the model was left: too many requests, or a budget of calls is used up.",
    SummaryState.UNAUTHORIZED: "The model's service refused the key.",
    SummaryState.REJECTED: "The model wrote something that the facts do not bear, so its words were thrown away.",
    SummaryState.FAILED: "The model could not be asked, or did not answer.",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class NumberedFact:
    """One statement that the model was shown."""

    number: str
    rule: str  # the rule it states, "" for what an address showed or a source answered
    text: str
    brief: str  # beside the words that rely on it


@register.filter
def has_model_words(state: str) -> bool:
    """Whether the summary was written by the model."""
    return state == SummaryState.WRITTEN


@register.filter
def why_no_words(state: str) -> str:
    """Why the model's words are missing."""
    return NO_WORDS[SummaryState(state)]


@register.filter
def shown_facts(row: Any, question: Any) -> list[NumberedFact]:
    """The facts that the model was asked about, as they were written down.

    An earlier version did not write them down: then they are made again from evidence and verdict, for an answer that was
    used or thrown away.
    """
    if question is None and row.summary["state"] not in ANSWERED_STATES:
        return []
    text = question.text if question else facts_for(row.evidence, row.verdict).text
    return [_numbered(fact.pop("id"), fact) for fact in json.loads(text)["facts"]]


@register.filter
def cited_facts(row: Any, question: Any) -> list[NumberedFact]:
    """The facts that the model says it relied on."""
    cited, rules = row.summary.get("cited_facts", ()), row.summary["citations"]  # an earlier version kept the rules alone
    facts = shown_facts(row, question)
    return [fact for fact in facts if (fact.number in cited if cited else fact.rule and fact.rule in rules)]


@register.filter
def instruction(question: Any) -> str:
    """What went with the question; "" if that was another version's."""
    return instruction_of(question)


@register.filter
def asked_effort(usage: Json) -> str:
    """What the question cost: "412 tokens, 1.9 s, for 3 targets together"; "" if nothing was counted."""
    tokens = sum(count for name, count in usage.items() if name.endswith("_tokens") and not name.startswith("total"))
    seconds = usage.get("latency_ms", 0) / 1000
    targets = usage.get("targets", 1)
    together = f"for {targets} targets together" if targets > 1 else ""
    parts = [f"{tokens:,} tokens" if tokens else "", f"{seconds:.1f} s" if seconds else "", together]
    return ", ".join(part for part in parts if part)


def _numbered(number: str, fact: Json) -> NumberedFact:
    text = _line(fact)
    brief = ": ".join(fact[part] for part in ("title", "evidence") if part in fact) if "rule" in fact else text
    return NumberedFact(number=number, rule=fact.get("rule", ""), text=text, brief=brief)


def _line(fact: Json) -> str:
    return "; ".join(f"{name.replace('_', ' ')}: {_word(value)}" for name, value in fact.items())


def _word(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)

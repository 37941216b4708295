"""The stand-in for Gemini: `generateContent` with JSON output. It writes from the numbered facts and from nothing else.

No model: sentences put together from the findings, so that they pass the same validator as a model's. It says who it
is in `modelVersion`, which the report shows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

MODEL = "stand-in-for-gemini"
MAX_NAMED = 2

Finding = Mapping[str, Any]


def answer(path: str, request: Any) -> Any:
    """The reply to one request; a LookupError says that it is not one."""
    if not path.partition("?")[0].endswith(":generateContent"):
        raise LookupError(path)
    text = request["contents"][-1]["parts"][0]["text"]
    asked = json.loads(text)
    said = _explained(asked) if "facts" in asked else {key: _explained(facts) for key, facts in asked.items()}
    written = json.dumps(said)
    return {
        "candidates": [{"content": {"role": "model", "parts": [{"text": written}]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {
            "promptTokenCount": len(text) // 4,
            "candidatesTokenCount": len(written) // 4,
            "totalTokenCount": (len(text) + len(written)) // 4,
        },
        "modelVersion": MODEL,
    }


def _explained(facts: Mapping[str, Any]) -> dict[str, object]:
    """The answer's four fields."""
    findings = [fact for fact in facts["facts"] if "rule" in fact and fact["points"] > 0]
    worst = sorted(findings, key=lambda finding: -finding["points"])[:MAX_NAMED]
    first = sorted(facts["facts"], key=lambda fact: "rule" not in fact)[:1]
    return {
        "risk_level": facts["risk_level"],
        "risk_summary": _summary(facts, worst),
        "recommendation": _recommendation(facts, worst),
        "cited_facts": [fact["id"] for fact in worst or first],
    }


def _summary(facts: Mapping[str, Any], worst: Sequence[Finding]) -> str:
    answered, tested = facts["ports_answered"], facts["ports_tested"]
    if facts["risk_level"] == "unknown":
        return f"None of the {tested} ports gave an answer, so nothing is known about what this target exposes."
    if not worst:
        return f"{answered} of {tested} ports answered and none of them is open. Other ports were not asked."
    first, *others = worst
    parts = [f"What weighs most here is: {_named(first)}."]
    if others:
        parts.append(f"Beside it stands {' and '.join(_named(finding) for finding in others)}.")
    if any(fact.get("open_ports", "none") != "none" for fact in facts["facts"]):
        parts.append("Anyone who can reach the address can try this without passing another barrier.")
    return " ".join(parts)


def _named(finding: Finding) -> str:
    title, evidence = finding["title"], finding.get("evidence", "as seen").rstrip(".")
    return f"{title[:1].lower() if title[1:2].islower() else title[:1]}{title[1:]} ({evidence})"


def _recommendation(facts: Mapping[str, Any], worst: Sequence[Finding]) -> str:
    if facts["risk_level"] == "unknown":
        return "Ask from another place, or confirm with its owner that this target is meant to be dark."
    texts = dict.fromkeys(finding["remediation"].rstrip(".") for finding in worst)
    return " ".join(f"{text}." for text in texts) or "Keep it so, and scan again after changes to the firewall."

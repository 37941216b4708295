"""What the model was told about the targets of a job: who may see the job may see it, word for word."""

from __future__ import annotations

from typing import Any

from scans.core.summary import INSTRUCTION, PROMPT_VERSION
from scans.models import ModelQuestion, ScanJob, TargetResult
from scans.selectors.results import timestamp


def model_question(row: TargetResult) -> ModelQuestion | None:
    """What was asked about one target; None if nothing was, or before this was written down."""
    return ModelQuestion.objects.filter(result=row.pk).first()


def instruction_of(question: ModelQuestion) -> str:
    """The instruction that went with it; "" if that was another version's."""
    return INSTRUCTION if question.prompt_version == PROMPT_VERSION else ""


def listed_questions(job: ScanJob, *, after: int, limit: int) -> tuple[list[dict[str, Any]], int | None]:
    """A page of what was asked about targets behind this ordinal, and the ordinal where it ends; None on the last page."""
    asked = ModelQuestion.objects.filter(result__job=job, result__ordinal__gt=after).order_by("result__ordinal")
    columns = ("result__ordinal", "result__target", "model", "prompt_version", "was_sent", "asked_at", "text")
    found = list(asked.values(*columns)[: limit + 1])
    page = [_wire_question(question) for question in found[:limit]]
    return page, page[-1]["ordinal"] if len(found) > limit else None


def _wire_question(question: dict[str, Any]) -> dict[str, Any]:
    told = {name.removeprefix("result__"): value for name, value in question.items()}
    return told | {"asked_at": timestamp(told["asked_at"])}

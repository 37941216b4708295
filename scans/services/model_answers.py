"""Questions to the model and its answers as rows: what was sent is written down first, what was accepted is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from django.db import IntegrityError

from scans.core.summary import PROMPT_VERSION, Explained, Question, question_digest, recalled
from scans.core.types import Summary
from scans.models import ModelAnswer, ModelQuestion, clock

LIFETIME = timedelta(days=30)  # advice grows old, and a model that keeps its name is changed behind it


def kept_words(questions: Mapping[int, Question], model: str) -> dict[int, Summary]:
    """The words for those of these questions whose answer was kept, by the same keys. One query."""
    digests = {key: question_digest(question.facts, model) for key, question in questions.items()}
    kept = ModelAnswer.objects.filter(digest__in=set(digests.values()), created_at__gt=clock.now() - LIFETIME)
    answers = {answer.digest: answer for answer in kept}
    found = {}
    for key, question in questions.items():
        if (answer := answers.get(digests[key])) is None:
            continue
        words = recalled(question, answer.answer, model=answer.model, finish_reason=answer.finish_reason)
        if words:
            found[key] = words
    return found


def keep_answer(question: Question, explained: Explained, model: str) -> None:
    """Keep an accepted answer for whoever asks `model` the same; a newer one replaces an older."""
    if not explained.answer:
        return
    answer = ModelAnswer(
        digest=question_digest(question.facts, model),
        answer=explained.answer,
        model=explained.summary.model or model,
        finish_reason=explained.summary.finish_reason,
        created_at=clock.now(),
    )
    ModelAnswer.objects.bulk_create(
        [answer],
        update_conflicts=True,
        unique_fields=["digest"],
        update_fields=["answer", "model", "finish_reason", "created_at"],
    )


def write_questions(questions: Iterable[tuple[int, Question]], *, model: str, was_sent: bool) -> bool:
    """Write down what these results are asked about. False if a result is not there any more, since its job was deleted."""
    now = clock.now()
    rows = [
        ModelQuestion(
            result_id=result_id,
            text=question.facts.text,
            model=model,
            prompt_version=PROMPT_VERSION,
            was_sent=was_sent,
            asked_at=now,
        )
        for result_id, question in questions
    ]
    columns = ["text", "model", "prompt_version", "was_sent", "asked_at"]
    try:
        ModelQuestion.objects.bulk_create(rows, update_conflicts=True, unique_fields=["result"], update_fields=columns)
    except IntegrityError:
        return False
    return True

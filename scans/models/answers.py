"""What the model was asked about a target, and what it answered to the same question.

    ModelQuestion   one a target: the facts, word for word, written before they leave; goes with its job
    ModelAnswer     one a question: an answer that was accepted, found again by the digest of the question; goes by its age

Both hold facts without addresses and names (`scans/core/summary/facts.py`), so two hosts alike are one question.
"""

from __future__ import annotations

from django.db import models

from scans.models.jobs import TargetResult

MAX_MODEL_CHARS = 100


class ModelQuestion(models.Model):
    """The facts about one target as the model was given them."""

    result = models.OneToOneField(TargetResult, on_delete=models.CASCADE, related_name="question")
    text = models.TextField(help_text="JSON, as it was sent; of a call about several targets this one's part")
    model = models.CharField(max_length=MAX_MODEL_CHARS, help_text="The model that was asked")
    prompt_version = models.PositiveSmallIntegerField()
    was_sent = models.BooleanField(help_text="No: the same question had an answer already, and nothing left")
    asked_at = models.DateTimeField()

    class Meta:
        verbose_name = "question to the model"
        verbose_name_plural = "questions to the model"

    def __str__(self) -> str:
        return f"{self.model}: {self.result_id}"


class ModelAnswer(models.Model):
    """An accepted answer, for whoever asks the same again."""

    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of prompt version, model and facts")
    answer = models.TextField(help_text="The model's, as JSON; checked anew whenever it is used")
    model = models.CharField(max_length=MAX_MODEL_CHARS, help_text="The version that the service named")
    finish_reason = models.CharField(max_length=40, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        verbose_name = "kept answer of the model"
        verbose_name_plural = "kept answers of the model"
        indexes = (models.Index(fields=("created_at",), name="answer_age"),)  # purge

    def __str__(self) -> str:
        return f"{self.model}: {self.digest[:12]}"

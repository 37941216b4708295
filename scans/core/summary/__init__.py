"""The words of a report: always the deterministic ones, and beside them, if asked for and valid, a model's."""

from __future__ import annotations

from scans.core.summary.deterministic import failed, summarise
from scans.core.summary.gemini import AskAloneError, Explained, GeminiClient, Question, recalled, unasked
from scans.core.summary.prompt import INSTRUCTION, MAX_TOGETHER, MAX_TOGETHER_CHARS, PROMPT_VERSION, question_digest

__all__ = [
    "INSTRUCTION",
    "MAX_TOGETHER",
    "MAX_TOGETHER_CHARS",
    "PROMPT_VERSION",
    "AskAloneError",
    "Explained",
    "GeminiClient",
    "Question",
    "failed",
    "question_digest",
    "recalled",
    "summarise",
    "unasked",
]

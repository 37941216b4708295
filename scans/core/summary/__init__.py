"""The words of a report: always the deterministic ones, and beside them, if asked for and valid, a model's."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from scans.core.summary.deterministic import failed, summarise

if TYPE_CHECKING:
    from scans.core.summary.gemini import AskAloneError, Explained, GeminiClient, Question, recalled, unasked
    from scans.core.summary.prompt import INSTRUCTION, MAX_TOGETHER, MAX_TOGETHER_CHARS, PROMPT_VERSION, question_digest
else:

    def __getattr__(name: str) -> Any:
        """What belongs to a model is imported when it is first asked for: the scanner asks none, and starts faster."""
        if name in __all__:
            for module in map(import_module, (f"{__name__}.prompt", f"{__name__}.gemini")):
                if hasattr(module, name):
                    return globals().setdefault(name, getattr(module, name))
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


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

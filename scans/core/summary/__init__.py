"""The words of a report: always the deterministic ones, and beside them, if asked for and valid, a model's."""

from __future__ import annotations

from scans.core.summary.deterministic import failed, summarise
from scans.core.summary.gemini import GeminiClient

__all__ = ["GeminiClient", "failed", "summarise"]

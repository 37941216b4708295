"""Log lines: one event, one line, no secrets."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

_API_KEY = re.compile(r"ipi_[A-Za-z0-9]{8}(?:\.|%2[Ee])[A-Za-z0-9]+")
_PLAIN = logging.Formatter()


class OneLineFormatter(logging.Formatter):
    """A hostile name in a message cannot start a line of its own; tracebacks are folded likewise."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of printable text."""
        text = super().format(record)
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class SecretFilter(logging.Filter):
    """Replaces the exact values of configured secrets, and whatever looks like an API key, wherever they may come from."""

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        super().__init__()
        self._secrets = [secret for secret in secrets if len(secret) >= 8]

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true; the record is rewritten if it holds a secret, in its message or in its traceback."""
        text = record.getMessage()
        shown = self._without_secrets(text)
        if shown != text:
            record.msg, record.args = shown, ()
        if record.exc_info:  # a formatter prints what stands in exc_text, and formats the exception only if that is empty
            text = record.exc_text or _PLAIN.formatException(record.exc_info)
            record.exc_text = self._without_secrets(text)
        return True

    def _without_secrets(self, text: str) -> str:
        shown = _API_KEY.sub("[key]", text)
        for secret in self._secrets:
            shown = shown.replace(secret, "[secret]")
        return shown

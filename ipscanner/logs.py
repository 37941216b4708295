"""Log lines: one event, one line, no secrets."""

from __future__ import annotations

import logging
from collections.abc import Sequence


class OneLineFormatter(logging.Formatter):
    """A hostile name in a message cannot start a line of its own; tracebacks are folded likewise."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of printable text."""
        text = super().format(record)
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class SecretFilter(logging.Filter):
    """Replaces the exact values of configured secrets, wherever a library may have put them."""

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        super().__init__()
        self._secrets = [secret for secret in secrets if len(secret) >= 8]

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true; the record is rewritten if it holds a secret."""
        text = record.getMessage()
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, "[secret]")
                record.msg, record.args = text, ()
        return True

"""`clean_text`: the one way in for text that a target, a DNS server or a service said."""

from __future__ import annotations

import unicodedata

# Cc control, Cf format (bidi marks, zero-width), Cs surrogates, Co private use, Cn unassigned, Zl/Zp line separators.
_UNWANTED = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def clean_text(said: str | bytes, *, limit: int = 255) -> str:
    """One line of plain text: what cannot be shown becomes a space, NFC, at most `limit` characters.

    Postgres stores neither NUL nor lone surrogates, terminals obey C0 and C1, browsers obey bidi marks.
    """
    if isinstance(said, bytes):
        said = said[: limit * 8].decode("utf-8", "replace")
    said = said[: limit * 8]
    if not (said.isascii() and said.isprintable()):  # plain words, nearly all there are, are clean as they stand
        said = unicodedata.normalize("NFC", "".join(" " if unicodedata.category(c) in _UNWANTED else c for c in said))
    text = " ".join(said.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"

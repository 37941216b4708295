"""The one error of the supervisor."""

from __future__ import annotations


class StartError(Exception):
    """It cannot run here, or not like this; the text says what is wrong and what to do."""

"""What the frame of every page shows: theme and workers. Read when the template asks for it, and not before."""

from __future__ import annotations

from functools import cached_property

from django.conf import settings
from django.http import HttpRequest

from scans import selectors
from scans.web.theme import THEMES, chosen_theme


class Frame:
    """The frame of one page. A bare one needs no database: an error page may be there because that has failed."""

    themes = THEMES

    def __init__(self, request: HttpRequest, *, is_bare: bool = False) -> None:
        self._request = request
        self._is_bare = is_bare

    @property
    def theme(self) -> str:
        """One of THEMES."""
        return chosen_theme(self._request)

    @property
    def path(self) -> str:
        """Where the theme form leads back to: this page. An error page says nothing of where it stands, so that two of
        them cannot be told apart."""
        return "/" if self._is_bare else self._request.get_full_path()

    @cached_property
    def workers(self) -> int | None:
        """How many supervisors of workers are alive; None where that is not asked, or is none of the reader's business."""
        if self._is_bare or not (settings.IS_LOCAL or self._request.user.is_authenticated):
            return None
        return selectors.live_workers()


def frame(request: HttpRequest) -> dict[str, Frame]:
    """Context processor: `frame` for every template that is rendered with a request."""
    return {"frame": Frame(request)}

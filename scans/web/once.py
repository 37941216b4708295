"""One job for one form, however often its button is pressed.

Each rendered form carries a random key of its own. Two presses send the same key and the same content, and the second
leads to the job of the first. Other content under the same key, as after "Back" and a correction, is another submission.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

from django.http import HttpRequest

from scans.models import ScanJob
from scans.services.idempotency import IdempotencyInFlightError, submit_once

FIELD = "once"
AT_WORK = "The first press of the button is still being worked on: its job stands in the history soon."
WAIT_SECONDS = 5.0  # for the first press: the browser shows only the answer to the last
PAUSE_SECONDS = 0.1


def once(request: HttpRequest, content: str, submit: Callable[[], ScanJob]) -> str:
    """The token of the form's job. Raises IdempotencyInFlightError, and whatever submit() raises."""
    key = request.POST.get(FIELD, "")
    if not key:  # a form from before the last update, or a program
        return submit().token
    digest = hashlib.sha256(f"{key} {content}".encode("utf-8", "surrogatepass")).hexdigest()
    # No header holds a line end, so that no Idempotency-Key of the API can be the same.
    until = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return submit_once(owner=request.user.pk, key=f"form\n{digest}", digest=digest, submit=submit).token
        except IdempotencyInFlightError:
            if time.monotonic() > until:
                raise
        time.sleep(PAUSE_SECONDS)

"""A clock that is off by as many seconds as the file CHAOS_CLOCK says, and follows when that changes.

Python imports this at its start where the directory is on PYTHONPATH. Only wall time is moved: monotonic time is the
kernel's, as on a machine whose clock somebody sets.
"""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta
from pathlib import Path

from django.utils import timezone

_file, _true_time, _true_now = Path(os.environ["CHAOS_CLOCK"]), time.time, timezone.now


def _offset() -> float:
    return float(_file.read_text() or 0)


def _wrong_time() -> float:
    return _true_time() + _offset()


def _wrong_now() -> datetime:
    return _true_now() + timedelta(seconds=_offset())


time.time, timezone.now = _wrong_time, _wrong_now

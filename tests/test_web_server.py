"""What the web server does in each of its processes before the first request."""

from __future__ import annotations

import json
import subprocess
import sys

from tests import patience

AFTERWARDS = """
import django, gc, json, sys
django.setup()
from ipscanner import gunicorn_conf
gunicorn_conf.set_apart()
is_read = "scans.web.history" in sys.modules
print(json.dumps({"is_read": is_read, "apart": gc.get_freeze_count(), "looked_through": len(gc.get_objects())}))
"""


def test_what_requests_need_is_read_and_the_garbage_collector_does_not_look_through_it():
    done = subprocess.run([sys.executable, "-c", AFTERWARDS], capture_output=True, check=True, timeout=patience.PATIENCE)

    found = json.loads(done.stdout)
    assert found["is_read"]
    assert found["apart"] > 20 * found["looked_through"]

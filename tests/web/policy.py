"""What every page promises the browser, and a look for what that promise forbids."""

from __future__ import annotations

import re
from typing import Any

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "font-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
}
_INLINE = re.compile(r"<script(?![^>]*\ssrc=)|<style|<[^>]*\s(?:style|on[a-z]+)=|src=\"data:", re.IGNORECASE)


def policy_of(response: Any) -> dict[str, str]:
    """The policy that a response carries; the order of its parts says nothing."""
    return dict(part.strip().split(" ", 1) for part in response["Content-Security-Policy"].split(";"))


def inline_parts(page: str) -> list[str]:
    """Everything in a page that the policy would block."""
    return _INLINE.findall(page)

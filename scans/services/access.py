"""Who asks: the user, the way in, and the client's address as far as it can be believed."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TypedDict

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest

from scans.core.types import IPAddress
from scans.selectors import key_of
from scans.services.audit import Origin

ANONYMOUS = "anonymous"
SESSION = "session"


class Submitter(TypedDict):
    """Three fields of a ScanRequest."""

    owner: int | None
    via: str
    address: str | None


def origin(request: HttpRequest) -> Origin:
    """The origin of a request: `audit.record(Action.CANCEL, **origin(request), job_token=…)`."""
    user = request.user
    return Origin(actor=user, via=way_in(user), address=client_address(request))


def submitter(request: HttpRequest) -> Submitter:
    """The same for a submission: `replace(scan_request, **submitter(request))`."""
    return Submitter(owner=request.user.pk, via=way_in(request.user), address=client_address(request))


def way_in(user: User | AnonymousUser) -> str:
    """By which proof a user is who they are."""
    if key := key_of(user):
        return f"key {key.prefix}"
    return SESSION if user.is_authenticated else ANONYMOUS


def client_address(request: HttpRequest) -> str | None:
    """The address of the client.

    X-Forwarded-For counts only where a configured proxy has written it, read from the right: each proxy appends whom it
    talks to, and what stands further left is whatever the client has sent.
    """
    found = _address(request.META.get("REMOTE_ADDR", ""))
    hops = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
    while found is not None and _is_trusted_proxy(found) and hops:
        before = _address(hops.pop())
        if before is None:
            break
        found = before
    return str(found) if found is not None else None


def _is_trusted_proxy(address: IPAddress) -> bool:
    return any(address in network for network in settings.TRUSTED_PROXIES)


def _address(text: str) -> IPAddress | None:
    """An address, IPv4 where an IPv6 one only wraps it. A zone id is no part of who somebody is."""
    try:
        found = ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found

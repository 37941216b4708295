"""Who may ask the API: programs with a key, browsers with a session, and anybody in the local profile.

    Authorization: Bearer ipi_<prefix>.<secret>      or      X-API-Key: ipi_<prefix>.<secret>

A key never travels in an address, where logs and histories would keep it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib.auth.models import User
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, ParseError, PermissionDenied
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from scans.models import KEY_PREFIX, ClientKey, Scope
from scans.selectors import key_of
from scans.services import keys

if TYPE_CHECKING:
    from rest_framework.views import APIView  # it imports this module, by the settings

SCHEME = "Bearer"
_KEY_LIKE = re.compile(rf"\b{KEY_PREFIX}")


class ScopeMissingError(PermissionDenied):
    """403 in the words of RFC 6750."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(f"This API key lacks the scope '{scope}'.", code="insufficient_scope")
        self.auth_header = f'{SCHEME} error="insufficient_scope", scope="{scope}"'


class ClientKeyAuthentication(BaseAuthentication):
    """By API key. Unknown, malformed, revoked and expired keys and those of inactive owners get one and the same 401."""

    def authenticate(self, request: Request) -> tuple[User, ClientKey] | None:
        """The owner, with the key hung on it for those who only see the user; None if the request has no key."""
        if any(_KEY_LIKE.search(text) for name, values in request.GET.lists() for text in (name, *values)):
            raise ParseError(
                f"A key belongs in the header 'Authorization: {SCHEME} …', never in an address.", "key_in_query"
            )
        text = _presented_key(request)
        if text is None:
            return None
        key = keys.valid_key(text)
        if key is None:
            raise AuthenticationFailed("The API key is not valid.", code="invalid_key")
        keys.note_use(key)
        owner: User = key.owner
        owner.client_key = key  # type: ignore[attr-defined]
        return owner, key

    def authenticate_header(self, request: Request) -> str:
        """For WWW-Authenticate; it also makes these failures a 401."""
        return f'{SCHEME} realm="api"'


def _presented_key(request: Request) -> str | None:
    """What the client gives for a key, whatever it looks like."""
    scheme, _, credentials = request.headers.get("Authorization", "").strip().partition(" ")
    if scheme.lower() == SCHEME.lower():
        return credentials.strip()
    return request.headers.get("X-API-Key")


class MayAsk(BasePermission):
    """A session may do everything its user may, a key only what its scopes say. The local profile also lets strangers in."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """False means: show who you are. Raises ScopeMissingError for a key that is too weak."""
        if not (settings.IS_LOCAL or request.user.is_authenticated):
            return False
        needed = Scope.READ if request.method in SAFE_METHODS else Scope.SCAN
        key = key_of(request.user)
        if key is not None and needed not in key.scopes:
            raise ScopeMissingError(needed)
        return True

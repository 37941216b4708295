"""Signing in and out, and who is sent to do it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render, resolve_url

from scans.services import quotas
from scans.web.htmx import wants_fragment


class SignInForm(AuthenticationForm):
    """User name and password, as this site's forms look."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, more in (("username", {"autocapitalize": "none", "spellcheck": "false"}), ("password", {})):
            widget: forms.Widget = self.fields[name].widget
            widget.attrs |= {"class": "input", **more}

    def attempts_left(self) -> int | None:
        """How many more wrong passwords this name has from this address; None if the last one was not counted."""
        failures = getattr(self.request, "axes_failures_since_start", None)
        return None if failures is None else max(0, settings.AXES_FAILURE_LIMIT - failures)

    def pause_minutes(self) -> int:
        """How long it is locked after the last one."""
        return _minutes(settings.AXES_COOLOFF_TIME.total_seconds())


class SignInView(LoginView):
    """The one login of the site, for the admin too."""

    form_class = SignInForm
    template_name = "scans/login.html"

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Take the passwords of one address only so fast, whatever names come with them."""
        allowance = quotas.draw("login", request, user=AnonymousUser())
        if allowance is not None and not allowance.is_granted:
            return _refusal(request, wait_seconds=allowance.resets_in_seconds)
        return super().post(request, *args, **kwargs)


def locked_out(request: HttpRequest, _response: HttpResponse | None, _credentials: Mapping[str, Any] | None) -> HttpResponse:
    """What django-axes answers while a name is locked for an address."""
    return _refusal(request, wait_seconds=int(settings.AXES_COOLOFF_TIME.total_seconds()))


def _refusal(request: HttpRequest, *, wait_seconds: int) -> HttpResponse:
    response = render(request, "scans/login_locked.html", {"minutes": _minutes(wait_seconds)}, status=429)
    response["Retry-After"], response["Cache-Control"] = str(wait_seconds), "private, no-store"
    return response


def _minutes(seconds: float) -> int:
    return math.ceil(seconds / 60)


class LoginRequired(LoginRequiredMiddleware):
    """Sends strangers to the login. A fragment that polls cannot show one: its whole page is sent there."""

    def handle_no_permission(  # type: ignore[override] # the stubs allow nothing but a redirect
        self, request: HttpRequest, view_func: Callable[..., HttpResponseBase]
    ) -> HttpResponseBase:
        """Redirect, or have htmx do it."""
        to_login = super().handle_no_permission(request, view_func)
        if not wants_fragment(request):
            return to_login
        return HttpResponse(headers={"HX-Redirect": resolve_url(settings.LOGIN_URL)})

"""System, light or dark: chosen by the form in the footer, kept in a cookie, rendered by the server as data-theme."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

COOKIE = "theme"
SYSTEM = "system"
THEMES = {SYSTEM: "System", "light": "Light", "dark": "Dark"}
YEAR_SECONDS = 365 * 24 * 3600


def chosen_theme(request: HttpRequest) -> str:
    """The theme of whoever asks. A cookie is whatever the client sends: what is no theme of ours means system."""
    theme = request.COOKIES.get(COOKIE, SYSTEM)
    return theme if theme in THEMES else SYSTEM


@csrf_exempt  # error pages are rendered without a token, and all that a foreign form could do is to change colours
@login_not_required
@require_POST
def choose(request: HttpRequest) -> HttpResponse:
    """Keep the choice and lead back to the page that it was made on."""
    next_page = request.POST.get("next", "")
    is_ours = next_page.startswith("/") and url_has_allowed_host_and_scheme(next_page, allowed_hosts=None)
    response = HttpResponseRedirect(next_page if is_ours else reverse("submit"))
    theme = request.POST.get("theme", "")
    if theme == SYSTEM:
        response.delete_cookie(COOKIE, samesite="Lax")
    elif theme in THEMES:
        secure = settings.SESSION_COOKIE_SECURE
        response.set_cookie(COOKIE, theme, max_age=YEAR_SECONDS, samesite="Lax", httponly=True, secure=secure)
    return response

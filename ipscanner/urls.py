"""The project's routes: the admin, and the application's own page of routes."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from scans.web.login import SignInView

urlpatterns = [
    path("admin/login/", SignInView.as_view()),  # one login for all, with one set of guards
    path("admin/", admin.site.urls),
    path("", include("scans.urls")),
]
handler400 = "scans.web.errors.bad_request"
handler403 = "scans.web.errors.permission_denied"
handler404 = "scans.web.errors.not_found"
handler500 = "scans.web.errors.server_error"

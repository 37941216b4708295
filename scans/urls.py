"""Every route of the application on one page, web and api."""

from __future__ import annotations

from django.urls import path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView

from scans.api.docs import SwaggerView, UnknownView
from scans.api.health import HealthView, ReadyView
from scans.api.viewsets import ScanViewSet
from scans.web import views

web = [
    path("", views.submit, name="submit"),
    path("jobs/<str:token>", views.job, name="job"),
    path("jobs/<str:token>/hosts/<int:number>", views.host, name="host"),
]
api = [
    path("scan", ScanViewSet.as_view({"post": "create"}), name="scan-submit"),
    path("ai-agent", ScanViewSet.as_view({"post": "create_ai"}), name="ai-agent-submit"),
    path("scan/<str:token>", ScanViewSet.as_view({"get": "retrieve"}), name="scan-read"),
    path("healthz", HealthView.as_view(), name="healthz"),
    path("readyz", ReadyView.as_view(), name="readyz"),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SwaggerView.as_view(url_name="schema"), name="api-docs"),
    path("docs", RedirectView.as_view(pattern_name="api-docs")),
    path("openapi.json", RedirectView.as_view(url="/api/schema/?format=json")),
    re_path(r"^(?:scan|ai-agent|api)/", UnknownView.as_view()),
]
urlpatterns = [*web, *api]

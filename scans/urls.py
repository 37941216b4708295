"""Every route of the application on one page, web and api."""

from __future__ import annotations

from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import LogoutView
from django.urls import path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView

from scans.api.docs import SwaggerView, UnknownView
from scans.api.health import HealthView, ReadyView
from scans.api.metrics import MetricsView
from scans.api.sources import SourcesView
from scans.api.viewsets import ScanViewSet
from scans.web import dashboard, history, hosts, jobs, keys, sources, submit, theme, waivers
from scans.web.login import SignInView

web = [
    path("", submit.submit, name="submit"),
    path("preview", submit.preview, name="preview"),
    path("jobs/<str:token>", jobs.job, name="job"),
    path("jobs/<str:token>/cancel", jobs.cancel, name="job-cancel"),
    path("jobs/<str:token>/rerun", jobs.rerun, name="job-rerun"),
    path("jobs/<str:token>/delete", jobs.delete, name="job-delete"),
    path("jobs/<str:token>/hosts/<int:number>", hosts.host, name="host"),
    path("history", history.history, name="history"),
    path("dashboard", dashboard.dashboard, name="dashboard"),
    path("sources", sources.sources, name="sources"),
    path("waivers", waivers.waivers, name="waivers"),
    path("waivers/<int:number>/withdraw", waivers.withdraw, name="waiver-withdraw"),
    path("keys", keys.own_keys, name="keys"),
    path("keys/<str:prefix>/revoke", keys.revoke, name="key-revoke"),
    path("login", SignInView.as_view(), name="login"),
    path("logout", LogoutView.as_view(), name="logout"),
    path("theme", theme.choose, name="theme"),
]
api = [
    path("scan", ScanViewSet.as_view({"post": "create"}), name="scan-submit"),
    path("ai-agent", ScanViewSet.as_view({"post": "create_ai"}), name="ai-agent-submit"),
    path("scans", ScanViewSet.as_view({"get": "list"}), name="scan-list"),
    path("scan/<str:token>", ScanViewSet.as_view({"get": "retrieve", "delete": "destroy"}), name="scan-read"),
    path("scan/<str:token>/results", ScanViewSet.as_view({"get": "results"}), name="scan-results"),
    path("scan/<str:token>/egress", ScanViewSet.as_view({"get": "egress"}), name="scan-egress"),
    path("scan/<str:token>/prompts", ScanViewSet.as_view({"get": "prompts"}), name="scan-prompts"),
    path("scan/<str:token>/cancel", ScanViewSet.as_view({"post": "cancel"}), name="scan-cancel"),
    path("scan/<str:token>/rerun", ScanViewSet.as_view({"post": "rerun"}), name="scan-rerun"),
    path("scan/<str:token>/export.json", ScanViewSet.as_view({"get": "export_json"}), name="scan-export-json"),
    path("scan/<str:token>/export.ndjson", ScanViewSet.as_view({"get": "export_ndjson"}), name="scan-export-ndjson"),
    path("scan/<str:token>/export.csv", ScanViewSet.as_view({"get": "export_csv"}), name="scan-export-csv"),
    path("sources.json", SourcesView.as_view(), name="sources-json"),
    path("healthz", HealthView.as_view(), name="healthz"),
    path("readyz", ReadyView.as_view(), name="readyz"),
    path("metrics", MetricsView.as_view(), name="metrics"),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SwaggerView.as_view(url_name="schema"), name="api-docs"),
    path("docs", login_not_required(RedirectView.as_view(pattern_name="api-docs"))),  # where they lead decides who may
    path("openapi.json", login_not_required(RedirectView.as_view(url="/api/schema/?format=json"))),
    re_path(r"^(?:scans?|ai-agent|api)/", UnknownView.as_view()),
]
urlpatterns = [*web, *api]

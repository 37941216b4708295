"""What a dozen sources say about one address: they agree, say more, contradict each other, are old, or did not answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from scans.core.types import Facts, SourceResult, SourceState
from tests.factories import GERMAN_HOSTING


def many_sources() -> list[SourceResult]:
    """As of now, in the order in which they are asked."""
    now = datetime.now(UTC)
    ago = {"now": now, "hours": now - timedelta(hours=5), "days": now - timedelta(days=6)}

    def said(name: str, when: str = "now", **facts: object) -> SourceResult:
        is_cached = when != "now"
        told = () if is_cached else (f"{name}.invalid:443",)
        return SourceResult(
            source=name,
            state=SourceState.OK,
            observed_at=ago[when],
            is_cached=is_cached,
            contacted=told,
            facts=Facts(**facts),  # type: ignore[arg-type]
        )

    def silent(name: str, state: SourceState, reason: str) -> SourceResult:
        return SourceResult(source=name, state=state, reason=reason)

    place = {"latitude": 52.52, "longitude": 13.4, "timezone": "Europe/Berlin"}
    return [
        SourceResult(
            source="ip-api", state=SourceState.OK, observed_at=now, facts=GERMAN_HOSTING, contacted=("ip-api.invalid:80",)
        ),
        said(
            "rdap", "hours", organisation="Example Holding BV", network="127.66.0.0/16", network_name="EXAMPLE-NET",
            registry="ripencc", registered_country="NL", abuse_contact="abuse@example.invalid",
        ),
        said("reverse-dns", host_names=("shop.example.invalid",), unconfirmed_names=("old.example.invalid",)),
        said("cymru", asn=64500, as_name="EXAMPLE, DE", network="127.66.0.0/20", registry="ripencc"),
        said("cloud", "days", cloud_provider="Example Cloud", cloud_service="Compute", cloud_region="eu-central-1"),
        said("geo", "days", country="Netherlands", country_code="NL", city="Amsterdam", **place),
        said("ipsum", "hours", vendor_flags=4, block_lists=("ipsum level 4",)),
        said("firehol", "hours", block_lists=("firehol_level1", "firehol_level3")),
        said("internetdb", "days", seen_ports=(22, 80, 443, 6379), seen_cves=("CVE-2022-0543", "CVE-2023-44487"),
             seen_products=("cpe:/a:redis:redis:6.0.16", "cpe:/a:f5:nginx:1.18.0"), seen_names=("shop.example.invalid",),
             tags=("cloud", "database")),
        said("abuseipdb", abuse_score=87, abuse_reports=1204, isp="Example Carrier AG", country_code="DE"),
        said("greynoise", classification="malicious", classified_as="Mirai"),
        silent("tor-exits", SourceState.EMPTY, "nothing known"),
        silent("virustotal", SourceState.RATE_LIMITED, "its quota is used up for another 3600 s"),
        silent("otx", SourceState.UNAUTHORIZED, "the service refused the request (HTTP 403)"),
    ]  # fmt: skip

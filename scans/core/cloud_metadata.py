"""The cloud part of `metadata`, as clients of the original service know it: `aws` and `gcp`, and who stands beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from scans.core.said import merged, service_category

Json = dict[str, Any]
CLOUDS = {
    "Amazon Web Services": ("aws", "AMAZON"),
    "Google Cloud": ("gcp", "GOOGLE"),
}  # the key, and the provider's name there
ALL_OF_IT = {
    "aws": "AMAZON",
    "gcp": "Google Cloud",
}  # the service that the providers' lists name where it is no particular one
KINDS = {  # of AWS's services, by the words of its list
    "API_GATEWAY": "API", "CLOUDFRONT": "CDN", "CLOUDFRONT_ORIGIN_FACING": "CDN", "DYNAMODB": "Database", "EBS": "Storage",
    "EC2": "Compute", "EC2_INSTANCE_CONNECT": "Compute", "GLOBALACCELERATOR": "Network", "ROUTE53": "DNS",
    "ROUTE53_HEALTHCHECKS": "DNS", "ROUTE53_RESOLVER": "DNS", "S3": "Storage", "WORKSPACES_GATEWAYS": "Desktop",
}  # fmt: skip


def cloud_metadata(sources: Iterable[Mapping[str, Any]]) -> Json:
    """What `metadata` holds in addition, or instead, where an address is Amazon's or Google's cloud; else nothing."""
    facts = merged(sources)
    key, provider = CLOUDS.get(facts["cloud_provider"] or "", ("", ""))
    if not key:
        return {}
    service = facts["cloud_service"] or ALL_OF_IT[key]
    category = KINDS.get(service) or service_category(facts)
    place = {"network_border_group": facts["cloud_border_group"]} if key == "aws" else {"scope": facts["cloud_region"]}
    cloud = {
        "prefix": facts["cloud_network"],
        "region": facts["cloud_region"],
        "service": service,
        "service_category": category,
        **place,
        "possible_services": list(facts["cloud_services"]) if facts["cloud_services"] else None,
    }
    return {"provider": provider, "service_category": category, key: cloud}

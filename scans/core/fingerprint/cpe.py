"""CPE names (NISTIR 7695) of the products whose own words make product and version certain.

Vendor and product are those under which the NVD's CPE dictionary (nvd.nist.gov/products/cpe) lists the product today: nginx
stands under f5 and vsftpd under vsftpd_project since their earlier names were deprecated. What has forks or imitators that
answer alike (MySQL, Redis, Memcached, Docker) is not here, nor is what several names are in use for (etcd).
"""

from __future__ import annotations

import re

_NAMES = {
    "Apache": "apache:http_server",
    "CouchDB": "apache:couchdb",
    "Elasticsearch": "elastic:elasticsearch",
    "Exim": "exim:exim",
    "lighttpd": "lighttpd:lighttpd",
    "MariaDB": "mariadb:mariadb",
    "nginx": "f5:nginx",
    "vsftpd": "vsftpd_project:vsftpd",
}
_RELEASE = re.compile(r"[0-9]{1,4}(?:\.[0-9]{1,5}){1,3}")  # anything else may be a fork's, or needs an update field


def cpe_of(product: str | None, version: str | None) -> str | None:
    """The formatted string, or None if either is not certain."""
    name = _NAMES.get(product or "")
    if name is None or not _RELEASE.fullmatch(version or ""):
        return None
    return f"cpe:2.3:a:{name}:{version}:*:*:*:*:*:*:*"

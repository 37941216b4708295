"""RDAP: to whom an address is registered, asked of the registry that knows (RFC 7480 to 7484, 9082, 9083).

bootstrap.py  which registry's service knows which block: IANA's two files
reading.py    a registry's answer to facts: hostile JSON, of which only what concerns an organisation is kept
source.py     the source: whom to ask, and where a redirect may lead
"""

from __future__ import annotations

from scans.core.intel.rdap.source import Rdap

__all__ = ["Rdap"]

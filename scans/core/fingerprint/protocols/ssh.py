"""SSH: its identification line (RFC 4253, 4.2) says protocol, product and often the exact package. Nothing is sent."""

from __future__ import annotations

import re

from scans.core.fingerprint.base import Protocol, identified
from scans.core.fingerprint.conversation import Question, Talk
from scans.core.types import Service

# SSH-protoversion-softwareversion SP comments CR LF; lines before it are allowed, and servers do send them.
_LINE = re.compile(rb"^SSH-(\d{1,2}\.\d{1,2})-([\x21-\x7e]{1,200})", re.MULTILINE)
_OPENSSH = re.compile(r"OpenSSH_(\d+\.\d+)(?:p(\d+))?$")
_OTHERS = re.compile(r"([A-Za-z][\w-]{1,40})[_-]v?(\d[\w.]{0,30})$")  # dropbear_2022.83, libssh_0.10.5


def recognise(greeting: bytes) -> bool:
    """Whether this is how SSH greets."""
    return _LINE.search(greeting) is not None


def read(question: Question, greeting: bytes) -> Talk[Service]:
    """The service behind the identification line."""
    yield from ()
    line = _LINE.search(greeting)
    software = line[2].decode("ascii") if line else ""
    openssh, other = _OPENSSH.match(software), _OTHERS.match(software)
    if openssh:
        version, patch = openssh[1], openssh[2]
        exact = f"{version}p{patch}" if patch else version
        # The part after the version number is CPE's update field (NISTIR 7695, 5.3.3): openssh 9.2 p1.
        cpe = f"cpe:2.3:a:openbsd:openssh:{version}:{f'p{patch}' if patch else '*'}:*:*:*:*:*:*"
        return identified(question, SSH, greeting, product="OpenSSH", version=exact, cpe=cpe)
    if other:
        return identified(question, SSH, greeting, product=other[1], version=other[2])
    return identified(question, SSH, greeting, product=software or None)


SSH = Protocol(name="SSH", technique="SSH Banner", recognise=recognise, read=read)

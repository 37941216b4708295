"""One file per protocol, and the tuple that registers them. None knows another; what several need lies one floor up."""

from __future__ import annotations

from scans.core.fingerprint.base import Protocol
from scans.core.fingerprint.protocols.greetings import FTP, IMAP, POP3, RSYNC, SMTP, VNC
from scans.core.fingerprint.protocols.http import HTTP
from scans.core.fingerprint.protocols.memcached import MEMCACHED
from scans.core.fingerprint.protocols.mysql import MYSQL
from scans.core.fingerprint.protocols.postgres import POSTGRES
from scans.core.fingerprint.protocols.redis import REDIS
from scans.core.fingerprint.protocols.ssh import SSH
from scans.core.fingerprint.protocols.telnet import TELNET
from scans.core.fingerprint.protocols.tls import TLS

# In the order in which a greeting is shown to them.
PROTOCOLS: tuple[Protocol, ...] = (
    *(SSH, SMTP, FTP, POP3, IMAP, MYSQL, TELNET, VNC, RSYNC),
    *(REDIS, MEMCACHED, POSTGRES),
    *(HTTP, TLS),
)

"""PostgreSQL: SSLRequest, to which every server and pooler says in one byte whether it would encrypt.

No startup message follows, so no user is named and nobody tries to log in; whether a password is needed stays unknown. Where
the answer is yes, the handshake shows the certificate (Frontend/Backend Protocol, "SSL Session Encryption").
"""

from __future__ import annotations

from scans.core.fingerprint.base import Protocol, identified, misunderstood
from scans.core.fingerprint.conversation import Question, Talk, receive, send, start_tls
from scans.core.fingerprint.handshakes import tls_facts
from scans.core.types import Service

SSL_REQUEST = bytes.fromhex("0000000804d2162f")  # length 8, code 80877103


def ask(question: Question) -> Talk[Service]:
    """One byte, S or N, and nothing after it: more would be somebody else's words."""
    yield from send(SSL_REQUEST)
    answer = yield from receive(most=2)
    if answer.data not in (b"S", b"N"):
        return misunderstood(question, answer)
    facts = None
    if answer.data == b"S":
        shake = yield from start_tls(question.name)
        facts = tls_facts(question, shake) if shake.error is None else None
    return identified(question, POSTGRES, answer.data, tls=facts)


POSTGRES = Protocol(name="PostgreSQL", technique="PostgreSQL Connection", ask=ask, ports=frozenset({5432, 6432}))

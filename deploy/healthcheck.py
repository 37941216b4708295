"""Whether the web server of this container answers. Standard library only: it runs every half minute.

It asks /healthz and not /readyz: that workers are missing is no reason to restart a web server.
"""

from __future__ import annotations

import os
import sys
from http import HTTPStatus
from http.client import HTTPConnection  # noqa: TID251 - it asks this very container

PORT = int(os.environ.get("PORT") or 8000)
HOST = os.environ.get("ALLOWED_HOSTS", "localhost").split(",")[0].strip().lstrip(".*") or "localhost"

connection = HTTPConnection("127.0.0.1", PORT, timeout=5)
try:
    connection.request("GET", "/healthz", headers={"Host": HOST})
    status = connection.getresponse().status
except OSError as error:
    sys.exit(f"no answer: {error}")
finally:
    connection.close()
if status != HTTPStatus.OK:
    sys.exit(f"answered {status}")

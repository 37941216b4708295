"""Settings of the test run, by environment, so that every program a test starts inherits them.

DATABASE_URL may point at Postgres; otherwise each run has its own SQLite file. Nothing here can reach past the
loopback: port 9 of 127.0.0.1 refuses.
"""

import os
import tempfile

NOWHERE = "http://127.0.0.1:9"

if "TEST_DATA_DIR" not in os.environ:  # else another process has made it, and takes it away
    _directory = tempfile.TemporaryDirectory(prefix="ipscanner-test-")
    os.environ["TEST_DATA_DIR"] = _directory.name
os.environ.update(
    PROFILE="local",
    DATA_DIR=os.environ["TEST_DATA_DIR"],
    SECRET_KEY="a-key-for-tests-only-0123456789-0123456789-0123456789",
    INTEL_SOURCES="ip-api",
    IP_API_BASE_URL=os.environ.get("TEST_IP_API_BASE_URL", NOWHERE),
    GEMINI_BASE_URL=os.environ.get("TEST_GEMINI_BASE_URL", NOWHERE),
    GEMINI_API_KEY=os.environ.get("TEST_GEMINI_API_KEY", ""),
    GOOGLE_API_KEY="",
    SCAN_DB_PATH="",
    SCAN_TREAT_AS_GLOBAL="127.66.0.0/16",
    LOG_LEVEL="WARNING",
    FINGERPRINT=os.environ.get("TEST_FINGERPRINT", "0"),  # a listener that never answers would cost each test some seconds
)
from ipscanner.settings import *  # noqa: E402, F403

STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):  # noqa: F405
    # A file, as in real use: the in-memory default locks whole tables, and no other process could open it.
    DATABASES["default"]["TEST"] = {"NAME": os.path.join(os.environ["TEST_DATA_DIR"], "test.sqlite")}  # noqa: F405, PTH118
WHITENOISE_AUTOREFRESH = WHITENOISE_USE_FINDERS = True  # static files straight from their sources

"""All settings. Every value comes from the environment, typed, and fails at start when wrong.

docs/configuration.md explains each; a test compares that list with what is read here and in
scans/core/options.py, which reads what concerns the scanner itself.
"""

from __future__ import annotations

import os
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

from ipscanner.secret import load_or_create_secret
from ipscanner.sqlite import Connection
from ipscanner.version import version
from scans.core.intel import check_choice
from scans.core.options import OptionError, Options
from scans.core.risk import RuleError, pack_of
from scans.core.vulnerabilities import ALL_SOURCES, FEEDS

BASE_DIR = Path(__file__).resolve().parent.parent
RATE_UNITS = {"s": 1, "min": 60, "h": 3600, "day": 86400}
env = environ.Env()

try:
    SCANNER = Options.from_env({**os.environ, "DATA_DIR": os.environ.get("DATA_DIR") or str(BASE_DIR / "data")})
    pack_of(SCANNER.risk.rules_file)  # read once here, so that no process runs by rules that cannot be meant
    check_choice(SCANNER.intel, ALL_SOURCES, FEEDS)  # nor by sources that there are not
except OptionError as error:
    raise ImproperlyConfigured(str(error)) from error
except RuleError as error:
    raise ImproperlyConfigured(f"RISK_RULES: {error}") from error


def whole_number(name: str, default: int, *, low: int = 1, high: int = 2**31 - 1) -> int:
    """A whole number from the environment; unset and empty mean the default."""
    text = env.str(name, "").strip() or str(default)
    if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
        raise ImproperlyConfigured(f"{name}={text!r} is not a whole number from {low} to {high}.")
    return int(text)


def rate(name: str, default: str) -> tuple[int, int] | None:
    """So many in so many seconds, written like 60/min; 0 means no limit."""
    text = env.str(name, "").strip() or default
    if text == "0":
        return None
    number, _, unit = text.partition("/")
    if not number.isascii() or not number.isdigit() or not 1 <= int(number) <= 10**6 or unit not in RATE_UNITS:
        raise ImproperlyConfigured(
            f"{name}={text!r} is not a rate like 60/min: a number and one of {', '.join(RATE_UNITS)}."
        )
    return int(number), RATE_UNITS[unit]


def broker_passwords(name: str, url: str) -> list[str]:
    """What a Redis address holds of passwords, as written and as meant, so that no log shows them.

    Raises ImproperlyConfigured for another kind of address.
    """
    try:
        parts = urlsplit(url)
        is_redis = parts.scheme in ("redis", "rediss", "unix") and bool(parts.hostname or parts.path) and parts.port != 0
    except ValueError:
        is_redis = False
    if url and not is_redis:  # without repeating it: it may hold a password
        raise ImproperlyConfigured(f"{name} is not an address like redis://127.0.0.1:6379/0.")
    query = (pair.partition("=") for pair in parts.query.split("&"))
    written = [parts.password or "", *(value for key, _, value in query if key == "password")]
    return [*written, *map(unquote, written)]


def networks(name: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Addresses and networks from the environment, comma-separated."""
    try:
        return tuple(ip_network(text.strip()) for text in env.list(name, default=[]) if text.strip())
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: {error}.") from error


# --- Profile -----------------------------------------------------------------------------------------------------
PROFILE = env.str("PROFILE", "local") or "local"
IS_LOCAL = PROFILE == "local"
DEBUG = env.bool("DEBUG", False)  # for developers only, in neither profile
HOST = env.str("HOST", "127.0.0.1")
PORT = whole_number("PORT", 8000, high=65535)
DATA_DIR = Path(env.str("DATA_DIR", "") or BASE_DIR / "data").resolve()
SECRET_KEY = env.str("SECRET_KEY", "") or load_or_create_secret(DATA_DIR / "secret_key")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]", HOST] if IS_LOCAL else [])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
TRUSTED_PROXIES = networks("TRUSTED_PROXIES")  # whose X-Forwarded-For is believed
if not IS_LOCAL and not ALLOWED_HOSTS:
    raise ImproperlyConfigured("PROFILE=server needs ALLOWED_HOSTS, the host names that clients use, comma-separated.")

# --- Applications ------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "axes",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_htmx",
    "django_q",
    "rest_framework",
    "rest_framework_api_key",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "scans",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "scans.api.throttles.RateLimitHeaders",
    *([] if IS_LOCAL else ["scans.web.login.LoginRequired"]),
    "axes.middleware.AxesMiddleware",  # the last one: it replaces the answer to a login that was locked out
]
ROOT_URLCONF = "ipscanner.urls"
WSGI_APPLICATION = "ipscanner.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "scans.web.frame.frame",
            ]
        },
    }
]

# --- Who may ask -------------------------------------------------------------------------------------------------
LOGIN_URL = LOGOUT_REDIRECT_URL = "login"
LOGIN_REDIRECT_URL = "submit"
SESSION_COOKIE_AGE = 12 * 3600  # a working day
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
# Wrong passwords are counted by user name and client address, so that nobody can lock somebody else out.
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_LOCKOUT_CALLABLE = "scans.web.login.locked_out"
AXES_CLIENT_IP_CALLABLE = "scans.services.access.client_address"
AXES_USERNAME_CALLABLE = "scans.services.logins.counted_name"
AXES_SENSITIVE_PARAMETERS = ["username", "ip_address", "csrfmiddlewaretoken"]
AXES_DISABLE_ACCESS_LOG = True  # the audit trail says who came
AXES_ENABLE_ADMIN = AXES_VERBOSE = False
# How much one key or one browser session may ask; all keys and the session of one user together twice as much.
QUOTAS = {
    "submit": rate("THROTTLE_SUBMIT", "0" if IS_LOCAL else "60/min"),
    "preview": None if IS_LOCAL else (120, 60),  # while somebody types in the form: it reads as much and stores nothing
    "read": rate("THROTTLE_READ", "0" if IS_LOCAL else "600/min"),
    "login": rate("THROTTLE_LOGIN", "0" if IS_LOCAL else "30/min"),  # by client address
}

# --- Database ----------------------------------------------------------------------------------------------------
# Measured: 50 writers without one "locked" error, and a 202 survives power loss (synchronous=FULL).
SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "factory": Connection,
    # given to every connection, so nothing may be in it that waits for a lock or writes
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; "
    "PRAGMA journal_size_limit=67108864; PRAGMA mmap_size=134217728; PRAGMA cache_size=-16000; PRAGMA temp_store=MEMORY",
}


def _database() -> dict[str, Any]:
    url, path = env.str("DATABASE_URL", ""), env.str("SCAN_DB_PATH", "")
    if url and path:
        raise ImproperlyConfigured("DATABASE_URL and SCAN_DB_PATH are both set: keep the one that is meant.")
    if not url:
        name = Path(path).expanduser().resolve() if path else DATA_DIR / "scans.sqlite"
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": name, "OPTIONS": SQLITE_OPTIONS}
    config: dict[str, Any] = env.db_url("DATABASE_URL")
    if config["ENGINE"].endswith("sqlite3"):
        return {**config, "OPTIONS": SQLITE_OPTIONS}
    # django-q2 calls close_old_connections around every task: without persistent ones it runs 15 times slower.
    return {**config, "CONN_MAX_AGE": 600, "CONN_HEALTH_CHECKS": True}


DATABASES = {"default": _database()}

# --- Queue -------------------------------------------------------------------------------------------------------
# Two queues, so that a slow model never holds up a probe. The messages are wake-ups: what is to do stands in our rows.
Q_WORKERS = whole_number("Q_WORKERS", 2, high=256)
STOP_SECONDS = whole_number("STOP_SECONDS", 15, low=5, high=3600)  # from the signal until everything has ended
# Redis only makes wake-ups quicker: what it loses, the reaper sends again from the rows.
BROKER_URL = env.str("BROKER_URL", "").strip()
BROKER_PASSWORDS = broker_passwords("BROKER_URL", BROKER_URL)
BROKER: dict[str, Any] = {"orm": "default"}  # stays beside the other, which goes first: the admin shows its table
if BROKER_URL:
    BROKER |= {"redis": BROKER_URL, "broker_class": "scans.services.broker.RedisBroker"}
Q_CLUSTER = {
    "name": "scan",
    "label": "Task queue",
    **BROKER,
    "workers": Q_WORKERS,
    "queue_limit": Q_WORKERS,  # more would be fetched ahead, and the retry clock starts at the fetch
    "bulk": 1,
    "poll": 0.1,
    "timeout": 60,
    "retry": 120,
    "guard_cycle": 0.5,
    "ack_failures": True,
    "max_attempts": 1,  # attempts are counted in our rows
    "save_limit": -1,
    "recycle": 200,
    "max_rss": 300_000,
    "catch_up": False,
    "scheduler": False,
    "cache": "queue",
    "ALT_CLUSTERS": {"ai": {"workers": 1, "queue_limit": 1, "timeout": 150, "retry": 300}},
}
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    # django-q2 writes its status every half second; nothing of ours reads it, so it stays in the process.
    "queue": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "queue"},
}

# --- Limits ------------------------------------------------------------------------------------------------------
SCAN_MAX_TARGETS = whole_number("SCAN_MAX_TARGETS", 1024)  # per job
SCAN_MAX_PROBES = whole_number("SCAN_MAX_PROBES", 10_000_000)  # per job: some eighty minutes at the default rate
SCAN_MAX_BODY_BYTES = whole_number("SCAN_MAX_BODY_BYTES", 1_000_000)
DATA_UPLOAD_MAX_MEMORY_SIZE = SCAN_MAX_BODY_BYTES
# What may be open at once; 0: no limit. The local profile has no limits for one person (services/admission.py).
MAX_OPEN_JOBS_PER_OWNER = whole_number("MAX_OPEN_JOBS_PER_OWNER", 20, low=0)
MAX_OPEN_TARGETS_PER_OWNER = whole_number("MAX_OPEN_TARGETS_PER_OWNER", 10_000, low=0)
MAX_OPEN_JOBS = whole_number("MAX_OPEN_JOBS", 2000, low=0)
MAX_OPEN_TARGETS = whole_number("MAX_OPEN_TARGETS", 250_000, low=0)
MAX_QUEUE_AGE_SECONDS = whole_number("MAX_QUEUE_AGE_SECONDS", 1800, low=0)
MIN_FREE_DISK_MB = whole_number("MIN_FREE_DISK_MB", 500, low=0)
# Lets a monitoring system read /metrics: Authorization: Bearer <token>.
METRICS_TOKEN = env.str("METRICS_TOKEN", "").strip()

# --- API ---------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "scans.api.auth.ClientKeyAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["scans.api.auth.MayAsk"],
    "DEFAULT_THROTTLE_CLASSES": ["scans.api.throttles.QuotaThrottle"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "scans.api.errors.problem_response",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "IP Intelligence Scanner",
    "DESCRIPTION": "Submit addresses, names and URLs; poll; read what each exposes, who runs it and how risky that is.",
    "VERSION": version(),
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["scans.api.auth.MayAsk"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    # Its highlighting knows one dark theme, in which numbers are too faint to read.
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "defaultModelsExpandDepth": 0, "syntaxHighlight": False},
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [],  # the default gives enumerations names of their own, which change with their neighbours
}

# --- Browser side ------------------------------------------------------------------------------------------------
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
    }
}
SECURE_CONTENT_TYPE_NOSNIFF = True
# Not no-referrer: browsers then send "Origin: null" with forms, which the CSRF check must refuse. Nothing leaves either way.
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
BEHIND_TLS = env.bool("BEHIND_TLS", not IS_LOCAL)  # the server profile stands behind a proxy that ends TLS
if BEHIND_TLS:
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = True
    SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]  # asked from inside, by load balancers and monitors
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = whole_number("HSTS_SECONDS", 31_536_000, low=0)
    SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = True

# --- Static files, language, time --------------------------------------------------------------------------------
STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = DATA_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
WHITENOISE_SKIP_COMPRESS_EXTENSIONS = ["map", "png", "gz", "woff2"]
LANGUAGE_CODE = "en"
FORMAT_MODULE_PATH = "ipscanner.formats"
TIME_ZONE = "UTC"
USE_TZ = True

# --- Logs --------------------------------------------------------------------------------------------------------
LOG_LEVEL = env.str("LOG_LEVEL", "INFO").upper()
SECRETS = [
    SCANNER.ai.api_key,
    *SCANNER.intel.keys.values(),
    SECRET_KEY,
    METRICS_TOKEN,
    *BROKER_PASSWORDS,
]  # by value; too short ones are left alone
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "ipscanner.logs.OneLineFormatter"}},
    "filters": {"secrets": {"()": "ipscanner.logs.SecretFilter", "secrets": SECRETS}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["secrets"]}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        "django-q": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
        "google_genai": {"level": "WARNING"},
        "httpx2": {"level": "WARNING"},
        "axes": {"level": "ERROR"},  # the audit trail says it once, and in our words
        "django.security.DisallowedHost": {"level": "CRITICAL"},  # one traceback for every passing bot
        "urllib3": {"level": "ERROR"},  # its warnings hold whole URLs
    },
}

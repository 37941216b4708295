"""All settings. Every value comes from the environment, typed, and fails at start when wrong.

docs/configuration.md explains each; a test compares that list with what is read here and in
scans/core/options.py, which reads what concerns the scanner itself.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

from ipscanner.secret import load_or_create_secret
from ipscanner.version import version
from scans.core.options import OptionError, Options

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()

try:
    SCANNER = Options.from_env(os.environ)
except OptionError as error:
    raise ImproperlyConfigured(str(error)) from error


def whole_number(name: str, default: int, *, low: int = 1, high: int = 2**31 - 1) -> int:
    """A whole number from the environment; unset and empty mean the default."""
    text = env.str(name, "").strip() or str(default)
    if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
        raise ImproperlyConfigured(f"{name}={text!r} is not a whole number from {low} to {high}.")
    return int(text)


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
if not IS_LOCAL and not ALLOWED_HOSTS:
    raise ImproperlyConfigured("PROFILE=server needs ALLOWED_HOSTS, the host names that clients use, comma-separated.")

# --- Applications ------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_htmx",
    "django_q",
    "rest_framework",
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
]
if not IS_LOCAL:
    MIDDLEWARE.append("django.contrib.auth.middleware.LoginRequiredMiddleware")
ROOT_URLCONF = "ipscanner.urls"
WSGI_APPLICATION = "ipscanner.wsgi.application"
LOGIN_URL = "admin:login"
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
            ]
        },
    }
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# --- Database ----------------------------------------------------------------------------------------------------
# Measured: 50 writers without one "locked" error, and a 202 survives power loss (synchronous=FULL).
SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    # auto_vacuum takes effect on a new file only, and only before WAL
    "init_command": "PRAGMA auto_vacuum=2; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; "
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
Q_CLUSTER = {
    "name": "scan",
    "label": "Task queue",
    "orm": "default",
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
SCAN_MAX_BODY_BYTES = whole_number("SCAN_MAX_BODY_BYTES", 1_000_000)
DATA_UPLOAD_MAX_MEMORY_SIZE = SCAN_MAX_BODY_BYTES

# --- API ---------------------------------------------------------------------------------------------------------
_ACCESS = "rest_framework.permissions.AllowAny" if IS_LOCAL else "rest_framework.permissions.IsAuthenticated"
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": [_ACCESS],
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
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
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
TIME_ZONE = "UTC"
USE_TZ = True

# --- Logs --------------------------------------------------------------------------------------------------------
LOG_LEVEL = env.str("LOG_LEVEL", "INFO").upper()
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "ipscanner.logs.OneLineFormatter"}},
    "filters": {"secrets": {"()": "ipscanner.logs.SecretFilter", "secrets": [SCANNER.ai.api_key, SECRET_KEY]}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["secrets"]}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        "django-q": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
        "google_genai": {"level": "WARNING"},
        "httpx2": {"level": "WARNING"},
        "django.security.DisallowedHost": {"level": "CRITICAL"},  # one traceback for every passing bot
        "urllib3": {"level": "ERROR"},  # its warnings hold whole URLs
    },
}

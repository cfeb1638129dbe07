"""Django's settings, all from the environment (see ``.env.example``)."""

from pathlib import Path
from typing import Any

import psycopg.conninfo

from config import env
from config.logging import logging_settings
from config.sealing import encryption_keys

ROOT = env.ROOT
HOME: Path = env.home()
SECRET_KEY = env.secret("SECRET_KEY")
KEY_PEPPER = env.secret("KEY_PEPPER")
DEBUG = env.text("DEBUG") == "1"
ALLOWED_HOSTS = env.items("ALLOWED_HOSTS", "127.0.0.1,localhost" if env.is_embedded() else "")
CSRF_TRUSTED_ORIGINS = env.items("CSRF_TRUSTED_ORIGINS")

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "tenants",
    "metering",
    "billing",
    "cacheproxy",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
AUTH_USER_MODEL = "tenants.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [ROOT / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]


def _database(url: str, role: str) -> dict[str, Any]:
    parts = psycopg.conninfo.conninfo_to_dict(url)
    known = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
    database: dict[str, Any] = {setting: str(parts.pop(name, "")) for name, setting in known.items()}
    options = {name: value for name, value in parts.items() if value is not None}
    return database | {
        "ENGINE": "django.db.backends.postgresql",
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": options | ({"assume_role": role} if role else {}),
    }


DATABASE_URL = env.text("DATABASE_URL", f"postgresql://postgres@/zerorate?host={HOME / 'postgres'}")
DATABASE_ROLE = env.text("DATABASE_ROLE", env.DEFAULT_ROLE)
DATABASES = {"default": _database(DATABASE_URL, DATABASE_ROLE)}
REDIS_URL = env.text("REDIS_URL", f"unix://{HOME / 'redis' / 'redis.sock'}?db=0")
CACHE_ENCRYPTION_KEYS = encryption_keys()
BROKER_URL = env.text("BROKER_URL", REDIS_URL)

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = True
FORMAT_MODULE_PATH = "config.formats"

STATIC_URL = "/static/"
STATIC_ROOT = env.text("STATIC_ROOT") or None  # for collectstatic; files are found without it
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG
FORM_RENDERER = "django.forms.renderers.DjangoTemplates"

SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env.text("BEHIND_TLS_PROXY") == "1" else None
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env.text("BEHIND_TLS_PROXY") == "1"
X_FRAME_OPTIONS = "DENY"

LOGGING: dict[str, Any] = logging_settings(env.text("LOG_LEVEL", "INFO"))

STRIPE_API_KEY = env.text("STRIPE_API_KEY")
STRIPE_API_BASE = env.text("STRIPE_API_BASE")
STRIPE_WEBHOOK_SECRET = env.text("STRIPE_WEBHOOK_SECRET")

SELLER_NAME = env.text("SELLER_NAME", "Zerorate")
SELLER_ADDRESS = env.text("SELLER_ADDRESS")
INVOICE_DUE_DAYS = env.integer("INVOICE_DUE_DAYS", 30)
CLOSE_GRACE_HOURS = env.integer("CLOSE_GRACE_HOURS", 24)

KEEP_CONTENT_DAYS = env.integer("KEEP_CONTENT_DAYS", 30)
LIMIT_LEASE_SECONDS = env.integer("LIMIT_LEASE_SECONDS", env.DEFAULT_LIMIT_LEASE_SECONDS)
WEBHOOKS_TO_PRIVATE_NETWORKS = env.text("WEBHOOKS_TO_PRIVATE_NETWORKS") == "1"

EMAIL_HOST = env.text("EMAIL_HOST", "localhost")
EMAIL_PORT = env.integer("EMAIL_PORT", 25)
EMAIL_HOST_USER = env.text("EMAIL_HOST_USER")
EMAIL_HOST_PASSWORD = env.text("EMAIL_HOST_PASSWORD")
EMAIL_USE_TLS = env.text("EMAIL_USE_TLS") == "1"
EMAIL_TIMEOUT = 5
DEFAULT_FROM_EMAIL = env.text("EMAIL_FROM", "zerorate@localhost")

from config.drf import REST_FRAMEWORK, SPECTACULAR_SETTINGS  # noqa: E402
from config.unfold import UNFOLD  # noqa: E402

__all__ = ["REST_FRAMEWORK", "SPECTACULAR_SETTINGS", "UNFOLD"]

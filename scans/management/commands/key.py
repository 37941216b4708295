"""`manage.py key create|list|revoke`: API keys from the command line."""

from __future__ import annotations

import re
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from scans.models import ClientKey
from scans.services import audit, keys

_LIFETIME = re.compile(r"([1-9][0-9]{0,4})([hdw])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


class Command(BaseCommand):
    """See the module."""

    help = "Make, list and revoke API keys."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command line."""
        commands = parser.add_subparsers(dest="command", required=True)
        create = commands.add_parser("create", help="make a key and print it, this once")
        create.add_argument("--user", required=True, metavar="NAME", help="whose key it is")
        create.add_argument("--name", required=True, help="what will use it")
        create.add_argument(
            "--scopes", default=",".join(keys.DEFAULT_SCOPES), help="of read, scan, admin (default: %(default)s)"
        )
        create.add_argument("--expires", metavar="90d", help="lifetime in h, d or w; without: no end")
        listing = commands.add_parser("list", help="show all keys")
        listing.add_argument("--user", metavar="NAME", help="only this user's")
        revoke = commands.add_parser("revoke", help="end a key for good")
        revoke.add_argument("prefix", help="the eight characters after ipi_")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Do one of the three."""
        {"create": self._create, "list": self._list, "revoke": self._revoke}[options["command"]](options)

    def _create(self, options: dict[str, Any]) -> None:
        lifetime = _lifetime(options["expires"])
        try:
            key, text = keys.create_key(
                _user(options["user"]),
                name=options["name"],
                scopes=[scope.strip() for scope in options["scopes"].split(",") if scope.strip()],
                expires_at=timezone.now() + lifetime if lifetime else None,
                origin=audit.COMMAND_LINE,
            )
        except keys.KeyRefusedError as error:
            raise CommandError(str(error)) from error
        self.stderr.write(f"Key {key.prefix}. It is shown this once and stored nowhere:")
        self.stdout.write(text)  # alone on stdout: KEY=$(manage.py key create …)

    def _list(self, options: dict[str, Any]) -> None:
        found = keys.keys_of(_user(options["user"])) if options["user"] else ClientKey.objects.all()
        for key in found.select_related("owner").order_by("owner__username", "-created"):
            state = "revoked" if key.revoked else "expired" if key.has_expired else "valid"
            until = f"until {key.expiry_date:%Y-%m-%d}" if key.expiry_date else "no end"
            used = f"used {key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never used"
            parts = (key.prefix, f"{state:7}", key.owner.get_username(), ",".join(key.scopes), until, used, key.name)
            self.stdout.write("  ".join(parts))

    def _revoke(self, options: dict[str, Any]) -> None:
        prefix = options["prefix"].removeprefix("ipi_")
        key = ClientKey.objects.filter(prefix=prefix).first() if prefix.isalnum() else None
        if key is None:
            raise CommandError("There is no key with this prefix: manage.py key list shows them.")
        was_valid = keys.revoke_key(key, origin=audit.COMMAND_LINE)
        self.stdout.write(f"{key.prefix} {'is' if was_valid else 'was already'} revoked.")


def _user(name: str) -> User:
    try:
        return User.objects.get(username=name)
    except User.DoesNotExist:
        raise CommandError(f"There is no user {name!r}: manage.py createsuperuser makes the first.") from None


def _lifetime(text: str | None) -> timedelta | None:
    if text is None:
        return None
    match = _LIFETIME.fullmatch(text)
    if match is None:
        raise CommandError(f"--expires {text!r} is not a lifetime like 12h, 90d or 52w.")
    return int(match[1]) * _UNITS[match[2]]

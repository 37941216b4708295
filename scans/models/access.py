"""Who may ask: API keys, and the keys that make a submission happen once."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from rest_framework_api_key.models import AbstractAPIKey, APIKeyManager

KEY_PREFIX = "ipi_"  # so that a leaked key can be found by secret scanners


class Scope(models.TextChoices):
    """What a key may do. `admin` is for staff: everybody's jobs."""

    READ = "read"
    SCAN = "scan"
    ADMIN = "admin"


class ClientKeyManager(APIKeyManager):
    """Keys as clients see them: `ipi_`, a visible prefix, a dot, and 32 random characters."""

    def assign_key(self, obj: Any) -> str:
        """Generate the key, which is shown once, and set prefix and hash."""
        return KEY_PREFIX + str(super().assign_key(obj))

    def get_usable_keys(self) -> Any:
        """Keys that are not revoked, each with its owner: whoever looks a key up wants to know whose it is."""
        return super().get_usable_keys().select_related("owner")

    def get_from_key(self, key: str) -> Any:
        """The row of a key. Raises DoesNotExist. Says nothing about expiry: the caller checks that."""
        return super().get_from_key(key.removeprefix(KEY_PREFIX))


class ClientKey(AbstractAPIKey):
    """An API key: stored as a hash, owned by a user, limited to scopes."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="client_keys")
    scopes = models.JSONField(default=list)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    objects = ClientKeyManager()  # type: ignore[misc] # a class variable there, which django-stubs makes one of instances

    class Meta(AbstractAPIKey.Meta):
        verbose_name = "API key"
        verbose_name_plural = "API keys"


class IdempotencyKey(models.Model):
    """A client's own key for a submission, kept for a day: the same body again gives the same reply."""

    owner_key = models.CharField(max_length=40, help_text="user:<id>, or empty for anonymous use")
    key = models.CharField(max_length=255)
    body_digest = models.CharField(max_length=64)
    token = models.CharField(
        max_length=32, blank=True, help_text="The job's token once it exists; until then it is in flight"
    )
    created_at = models.DateTimeField()

    class Meta:
        verbose_name = "idempotency key"
        indexes = (models.Index(fields=("created_at",), name="idempotency_age"),)  # purge
        constraints = (models.UniqueConstraint(fields=("owner_key", "key"), name="idempotency_once"),)

    def __str__(self) -> str:
        return self.key

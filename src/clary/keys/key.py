"""A KMS key and an alias, as they are kept. Data only; `key_store` keeps them, the operations of KMS change them."""

from enum import StrEnum

import msgspec

from clary.base.clock import Instant

S3_ALIAS = "alias/aws/s3"
"""The account's own key for S3, which need not be made. Source: KMS, AWS managed keys."""


class KeyState(StrEnum):
    """Source: API model of KMS, KeyState; the others belong to kinds of keys that are not made here."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"
    PENDING_DELETION = "PendingDeletion"


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A symmetric key. `material` is its secret of 32 bytes; `managed` that it is AWS's own for S3, nobody's to change."""

    key_id: str
    material: bytes
    creation_date: Instant
    description: str = ""
    managed: bool = False
    state: KeyState = KeyState.ENABLED
    deletion_date: Instant | None = None
    tags: dict[str, str] = {}

    def __repr__(self) -> str:
        """Without the material, which must not reach a log."""
        return f"Key({self.key_id}, {self.state})"


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """Another name of a key, which begins with "alias/"."""

    name: str
    key_id: str
    creation_date: Instant
    last_updated_date: Instant

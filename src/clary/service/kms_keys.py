"""The operations of KMS on keys: made, described, listed, disabled, deleted. Called by the gateway through `operations`.

Keys are symmetric and made here; what asks for another kind, or for key policies, which are not evaluated, is refused by
name. A key is deleted when its date has come, and with it everything that is under it. Source: API model of KMS.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from clary.aws.errors import ValidationException
from clary.aws.handlers import Handler, RequestContext
from clary.aws.paging import PageTokens
from clary.base.clock import Clock, later
from clary.keys.key import Key, KeyState
from clary.keys.key_store import KeyStore
from clary.service.kms_key_ids import KeyIds, KmsError
from clary.service.kms_pages import page

_DAY_S = 86_400
_LEAST_DAYS, _MOST_DAYS = 7, 30
"""Bounds of PendingWindowInDays, the greater one its default. Source: KMS API, ScheduleKeyDeletion."""

_REFUSED = {
    "Policy": "key policies are not evaluated",
    "BypassPolicyLockoutSafetyCheck": "key policies are not evaluated",
    "CustomKeyStoreId": "there are no custom key stores",
    "XksKeyId": "there are no external key stores",
    "MultiRegion": "there is one Region",
}
_ONLY = {
    "KeyUsage": "ENCRYPT_DECRYPT",
    "KeySpec": "SYMMETRIC_DEFAULT",
    "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
    "Origin": "AWS_KMS",
}


class KmsKeys:
    """The operations."""

    def __init__(self, store: KeyStore, key_ids: KeyIds, *, tokens: PageTokens, clock: Clock) -> None:
        self._store = store
        self._key_ids = key_ids
        self._tokens = tokens
        self._clock = clock

    def handlers(self) -> dict[str, Handler]:
        """The operations by their names."""
        return {
            "CancelKeyDeletion": self.cancel_deletion,
            "CreateKey": self.create,
            "DescribeKey": self.describe,
            "DisableKey": self.disable,
            "EnableKey": self.enable,
            "ListKeys": self.list,
            "ListResourceTags": self.list_tags,
            "ScheduleKeyDeletion": self.schedule_deletion,
        }

    async def create(self, context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """CreateKey. When this answers, the key is on disk."""
        for member, why in _REFUSED.items():
            if params.get(member):
                raise KmsError("UnsupportedOperationException", f"Clary does not support {member} here: {why}.")
        for member, only in _ONLY.items():
            if params.get(member, only) != only:
                raise KmsError("UnsupportedOperationException", f"Clary makes keys with the {member} {only} alone.")
        tags = {tag["TagKey"]: tag["TagValue"] for tag in params.get("Tags") or ()}
        if len(tags) < len(params.get("Tags") or ()):
            raise KmsError("TagException", "Duplicate tag keys")
        if any(name.lower().startswith("aws:") for name in tags):
            raise KmsError("TagException", "Tag keys must not begin with the reserved prefix aws:")
        key = await asyncio.to_thread(self._store.create, description=params.get("Description", ""), tags=tags)
        return {"KeyMetadata": self._metadata(key, context)}

    async def describe(self, context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """DescribeKey."""
        refuse_grants(params)
        return {"KeyMetadata": self._metadata(self._key_ids.named(params["KeyId"]), context)}

    async def list(self, _context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """ListKeys: the managed key is among them."""
        if params.get("ResourceOwners"):
            raise ValidationException("Clary does not support ResourceOwners: all keys are the account's.")
        keys = {key.key_id: {"KeyId": key.key_id, "KeyArn": self._key_ids.arn(key)} for key in self._store.all()}
        return page("Keys", keys, params, tokens=self._tokens, query={"operation": "ListKeys"}, limit=100)

    async def list_tags(self, _context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """ListResourceTags."""
        key = self._key_ids.named(params["KeyId"], aliases=False)
        tags = {name: {"TagKey": name, "TagValue": key.tags[name]} for name in sorted(key.tags)}
        query = {"operation": "ListResourceTags", "key": key.key_id}
        return page("Tags", tags, params, tokens=self._tokens, query=query, limit=50)

    async def enable(self, _context: RequestContext, params: dict[str, Any]) -> None:
        """EnableKey."""
        await self._change(params, lambda key: msgspec.structs.replace(key, state=KeyState.ENABLED))

    async def disable(self, _context: RequestContext, params: dict[str, Any]) -> None:
        """DisableKey: from now on nothing can be encrypted or read with it."""
        await self._change(params, lambda key: msgspec.structs.replace(key, state=KeyState.DISABLED))

    async def schedule_deletion(self, _context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """ScheduleKeyDeletion."""
        days = params.get("PendingWindowInDays", _MOST_DAYS)
        if not _LEAST_DAYS <= days <= _MOST_DAYS:
            raise ValidationException(f"PendingWindowInDays must be between {_LEAST_DAYS} and {_MOST_DAYS}.")
        date = later(self._clock.now(), days * _DAY_S)
        key = await self._change(
            params, lambda key: msgspec.structs.replace(key, state=KeyState.PENDING_DELETION, deletion_date=date)
        )
        return {
            "KeyId": self._key_ids.arn(key),
            "DeletionDate": date / 1000,
            "KeyState": key.state,
            "PendingWindowInDays": days,
        }

    async def cancel_deletion(self, _context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """CancelKeyDeletion. The key is disabled then, as on AWS."""

        def cancel(key: Key) -> Key:
            if key.state is not KeyState.PENDING_DELETION:
                raise KmsError("KMSInvalidStateException", f"{self._key_ids.arn(key)} is not pending deletion.")
            return msgspec.structs.replace(key, state=KeyState.DISABLED, deletion_date=None)

        return {"KeyId": self._key_ids.arn(await self._change(params, cancel, pending=True))}

    async def _change(self, params: dict[str, Any], change: Callable[[Key], Key], *, pending: bool = False) -> Key:
        """The key as it is kept now. One that is about to be deleted is changed only if `pending` says so."""
        named = self._key_ids.named(params["KeyId"], aliases=False)

        def checked(key: Key) -> Key:
            if key.managed:
                raise KmsError(  # (inferred)
                    "AccessDeniedException", f"{self._key_ids.arn(key)} is an AWS managed key, which cannot be changed."
                )
            if key.state is KeyState.PENDING_DELETION and not pending:
                raise KmsError("KMSInvalidStateException", f"{self._key_ids.arn(key)} is pending deletion.")
            return change(key)

        changed = await asyncio.to_thread(self._store.change, named.key_id, checked)
        return changed or self._key_ids.named(params["KeyId"])  # its date has come in between: raises

    def _metadata(self, key: Key, context: RequestContext) -> dict[str, Any]:
        metadata: dict[str, Any] = {
            "AWSAccountId": context.account_id,
            "KeyId": key.key_id,
            "Arn": self._key_ids.arn(key),
            "CreationDate": key.creation_date / 1000,
            "Enabled": key.state is KeyState.ENABLED,
            "Description": key.description,
            "KeyUsage": "ENCRYPT_DECRYPT",
            "KeyState": key.state,
            "Origin": "AWS_KMS",
            "KeyManager": "AWS" if key.managed else "CUSTOMER",
            "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
            "KeySpec": "SYMMETRIC_DEFAULT",
            "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
            "MultiRegion": False,
        }
        if key.deletion_date is not None:
            metadata["DeletionDate"] = key.deletion_date / 1000
        return metadata


def refuse_grants(params: dict[str, Any]) -> None:
    """Refuse members that would have to act through grants and enclaves, of which there are none."""
    for member, why in {"GrantTokens": "there are no grants", "Recipient": "there are no enclaves"}.items():
        if params.get(member):
            raise ValidationException(f"Clary does not support {member} here: {why}.")

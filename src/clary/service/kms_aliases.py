"""The operations of KMS on aliases. Called by the gateway through `operations`. Source: API model of KMS."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from clary.aws.errors import ValidationException
from clary.aws.handlers import Handler, RequestContext
from clary.aws.paging import PageTokens
from clary.base.clock import Clock
from clary.keys.key import Alias, Key, KeyState
from clary.keys.key_store import KeyStore
from clary.service.kms_key_ids import KeyIds, KmsError
from clary.service.kms_pages import page


class KmsAliases:
    """The operations."""

    def __init__(self, store: KeyStore, key_ids: KeyIds, *, tokens: PageTokens, clock: Clock) -> None:
        self._store = store
        self._key_ids = key_ids
        self._tokens = tokens
        self._clock = clock

    def handlers(self) -> dict[str, Handler]:
        """The operations by their names."""
        return {
            "CreateAlias": self.create,
            "DeleteAlias": self.delete,
            "ListAliases": self.list,
            "UpdateAlias": self.update,
        }

    async def create(self, _context: RequestContext, params: dict[str, Any]) -> None:
        """CreateAlias."""
        name, now = _own(params["AliasName"]), self._clock.now()

        def create(aliases: Mapping[str, Alias]) -> dict[str, Alias]:
            if name in aliases:
                raise KmsError(
                    "AlreadyExistsException", f"An alias with the name {self._key_ids.alias_arn(name)} already exists"
                )
            key = self._target(params)
            return {
                **aliases,
                name: Alias(name=name, key_id=key.key_id, creation_date=now, last_updated_date=now),
            }

        await asyncio.to_thread(self._store.change_aliases, create)

    async def update(self, _context: RequestContext, params: dict[str, Any]) -> None:
        """UpdateAlias: the name means another key from now on."""
        name, now = _own(params["AliasName"]), self._clock.now()

        def update(aliases: Mapping[str, Alias]) -> dict[str, Alias]:
            found = self._existing(aliases, name)
            key_id = self._target(params).key_id
            return {**aliases, name: msgspec.structs.replace(found, key_id=key_id, last_updated_date=now)}

        await asyncio.to_thread(self._store.change_aliases, update)

    async def delete(self, _context: RequestContext, params: dict[str, Any]) -> None:
        """DeleteAlias: the key stays."""
        name = _own(params["AliasName"])

        def delete(aliases: Mapping[str, Alias]) -> dict[str, Alias]:
            self._existing(aliases, name)
            return {each: alias for each, alias in aliases.items() if each != name}

        await asyncio.to_thread(self._store.change_aliases, delete)

    async def list(self, _context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """ListAliases: all, or those of a key."""
        of_key = self._key_ids.named(params["KeyId"], aliases=False).key_id if params.get("KeyId") else None
        aliases = {
            alias.name: {
                "AliasName": alias.name,
                "AliasArn": self._key_ids.alias_arn(alias.name),
                "TargetKeyId": alias.key_id,
                "CreationDate": alias.creation_date / 1000,
                "LastUpdatedDate": alias.last_updated_date / 1000,
            }
            for alias in self._store.aliases()
            if of_key in {None, alias.key_id}
        }
        query = {"operation": "ListAliases", "key": of_key}
        return page("Aliases", aliases, params, tokens=self._tokens, query=query, limit=50)

    def _existing(self, aliases: Mapping[str, Alias], name: str) -> Alias:
        if name not in aliases:
            raise KmsError("NotFoundException", f"Alias {self._key_ids.alias_arn(name)} is not found.")
        return aliases[name]

    def _target(self, params: dict[str, Any]) -> Key:
        """A key that an alias may name: a customer's, disabled or not."""
        key = self._key_ids.named(params["TargetKeyId"], aliases=False)
        if key.managed:
            raise KmsError(  # (inferred)
                "AccessDeniedException", f"{self._key_ids.arn(key)} is an AWS managed key, which gets no other alias."
            )
        if key.state is KeyState.PENDING_DELETION:
            raise KmsError("KMSInvalidStateException", f"{self._key_ids.arn(key)} is pending deletion.")
        return key


def _own(name: str) -> str:
    """The name, if a customer may use it. Source: KMS API, CreateAlias, AliasName; the texts are inferred."""
    if not name.startswith("alias/"):
        raise ValidationException('Alias must start with the prefix "alias/".')
    if name.startswith("alias/aws/") or name == "alias/aws":
        raise KmsError("NotAuthorizedException", f"{name}: names that begin with alias/aws/ are AWS's.")
    if not re.fullmatch(r"alias/[a-zA-Z0-9/_-]+", name, re.ASCII):
        raise KmsError("InvalidAliasNameException", f"{name} is not a valid alias name.")
    return name

"""Which key a KeyId means: by id, key ARN, alias name or alias ARN. Called by the operations of KMS, and by those who give
KMS keys to S3: the gate, and CreateTrainingJob.

Source: API model of KMS, KeyId; the texts are KMS's own, "(inferred)" where none was seen.
"""

import re

from clary.aws.errors import AwsError
from clary.base.arn import kms_alias_arn, kms_key_arn, partition
from clary.keys.key import S3_ALIAS, Key, KeyState
from clary.keys.key_store import KeyStore

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII).fullmatch
_ALIAS = re.compile(r"alias/[a-zA-Z0-9/_-]{1,250}", re.ASCII).fullmatch


class KmsError(AwsError):
    """An error of KMS, by its code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code=code, message=message)


class KeyIds:
    """Finds keys for the account in the region."""

    def __init__(self, store: KeyStore, *, region: str, account_id: str) -> None:
        self._store = store
        self._region = region
        self._account_id = account_id

    def named(self, key_id: str, *, aliases: bool = True) -> Key:
        """The key, whatever its state. Raises `KmsError` (NotFoundException, AccessDeniedException)."""
        name = self._without_arn(key_id)
        if aliases and _ALIAS(name):
            alias = self._store.find_alias(name)
            if alias is None:
                raise KmsError("NotFoundException", f"Alias {self.alias_arn(name)} is not found.")
            name = alias.key_id
        elif not _UUID(name):
            raise KmsError("NotFoundException", f"Invalid keyId '{key_id}'")
        key = self._store.find(name)
        if key is None:
            raise KmsError(
                "NotFoundException", f"Key '{kms_key_arn(self._region, self._account_id, name)}' does not exist"
            )
        return key

    def usable(self, key_id: str) -> Key:
        """The key, if data can be encrypted with it now. Raises `KmsError`: also DisabledException, KMSInvalidStateException."""
        key = self.named(key_id)
        if key.state is KeyState.DISABLED:
            raise KmsError("DisabledException", f"{self.arn(key)} is disabled.")
        if key.state is KeyState.PENDING_DELETION:
            raise KmsError("KMSInvalidStateException", f"{self.arn(key)} is pending deletion.")
        return key

    def usable_id(self, key_id: str | None) -> str:
        """The id of the same, None meaning the account's own key for S3."""
        return self.usable(key_id or S3_ALIAS).key_id

    def arn(self, key: Key) -> str:
        """The key's ARN."""
        return kms_key_arn(self._region, self._account_id, key.key_id)

    def alias_arn(self, name: str) -> str:
        """The ARN of an alias ("alias/…")."""
        return kms_alias_arn(self._region, self._account_id, name)

    def _without_arn(self, key_id: str) -> str:
        if not key_id.startswith("arn:"):
            return key_id
        _, of_partition, service, region, account_id, name = (*key_id.split(":", 5), *[""] * 5)[:6]
        if (of_partition, service, region) != (partition(self._region), "kms", self._region):
            raise KmsError("NotFoundException", f"Invalid arn {region}")
        if account_id != self._account_id:
            raise KmsError(  # (inferred)
                "AccessDeniedException",
                f"The key {key_id} does not exist in this account, or its owner allows no access.",
            )
        return name.removeprefix("key/") if name.startswith("key/") else name

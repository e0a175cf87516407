"""The operations of KMS that encrypt and decrypt. Called by the gateway through `operations`: by users, and by the embedded
store, which asks for a data key for each object under SSE-KMS. Source: API model of KMS.
"""

import secrets
from typing import Any

from clary.aws.errors import AwsError, ValidationException
from clary.aws.handlers import Handler, RequestContext
from clary.keys.key import Key
from clary.keys.sealing import Unreadable, key_id_of, seal, unseal
from clary.service.kms_key_ids import KeyIds, KmsError
from clary.service.kms_keys import refuse_grants

_ALGORITHM = "SYMMETRIC_DEFAULT"
_SPEC_BYTES = {"AES_256": 32, "AES_128": 16}


class KmsCryptography:
    """The operations. Nothing is written; a key's state counts at the moment of the request."""

    def __init__(self, key_ids: KeyIds) -> None:
        self._key_ids = key_ids

    def handlers(self) -> dict[str, Handler]:
        """The operations by their names."""
        return {
            "Decrypt": self.decrypt,
            "Encrypt": self.encrypt,
            "GenerateDataKey": self.generate_data_key,
            "GenerateDataKeyWithoutPlaintext": self.generate_data_key_without_plaintext,
            "ReEncrypt": self.re_encrypt,
        }

    async def encrypt(self, _context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """Encrypt."""
        _refuse(params)
        key = self._key_ids.usable(params["KeyId"])
        _end_dry_run(params)
        return {
            "CiphertextBlob": _sealed(key, params["Plaintext"], params.get("EncryptionContext")),
            "KeyId": self._key_ids.arn(key),
            "EncryptionAlgorithm": _ALGORITHM,
        }

    async def decrypt(self, _context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """Decrypt. KeyId in the answer is the key's ARN, as in GenerateDataKey's: the embedded store compares them."""
        _refuse(params)
        key, plaintext = self._opened(params, params.get("KeyId"), params.get("EncryptionContext"))
        _end_dry_run(params)
        return {"KeyId": self._key_ids.arn(key), "Plaintext": plaintext, "EncryptionAlgorithm": _ALGORITHM}

    async def generate_data_key(self, _context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """GenerateDataKey: a new key, open and sealed."""
        plaintext, sealed, key = self._data_key(params)
        return {"CiphertextBlob": sealed, "Plaintext": plaintext, "KeyId": self._key_ids.arn(key)}

    async def generate_data_key_without_plaintext(
        self, _context: RequestContext, params: dict[str, Any]
    ) -> dict[str, Any]:
        """GenerateDataKeyWithoutPlaintext: the same, sealed only."""
        _, sealed, key = self._data_key(params)
        return {"CiphertextBlob": sealed, "KeyId": self._key_ids.arn(key)}

    async def re_encrypt(self, _context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """ReEncrypt: under another key or context, without showing what it is."""
        _refuse(params)
        source, plaintext = self._opened(params, params.get("SourceKeyId"), params.get("SourceEncryptionContext"))
        key = self._key_ids.usable(params["DestinationKeyId"])
        _end_dry_run(params)
        return {
            "CiphertextBlob": _sealed(key, plaintext, params.get("DestinationEncryptionContext")),
            "SourceKeyId": self._key_ids.arn(source),
            "KeyId": self._key_ids.arn(key),
            "SourceEncryptionAlgorithm": _ALGORITHM,
            "DestinationEncryptionAlgorithm": _ALGORITHM,
        }

    def _data_key(self, params: dict[str, Any]) -> tuple[bytes, bytes, Key]:
        _refuse(params)
        if ("KeySpec" in params) == ("NumberOfBytes" in params):
            raise ValidationException("Please specify either number of bytes or key spec.")
        key = self._key_ids.usable(params["KeyId"])
        _end_dry_run(params)
        plaintext = secrets.token_bytes(params.get("NumberOfBytes") or _SPEC_BYTES[params["KeySpec"]])
        return plaintext, _sealed(key, plaintext, params.get("EncryptionContext")), key

    def _opened(self, params: dict[str, Any], key_id: str | None, context: dict[str, str] | None) -> tuple[Key, bytes]:
        """The key that a ciphertext is under, and what it holds. Raises `KmsError`."""
        if "CiphertextBlob" not in params:
            raise ValidationException("CiphertextBlob must be given.")
        ciphertext: bytes = params["CiphertextBlob"]
        try:
            named = key_id_of(ciphertext)
            if key_id is not None and self._key_ids.named(key_id).key_id != named:
                raise KmsError(
                    "IncorrectKeyException",
                    "The key ID in the request does not identify a CMK that can perform this operation.",
                )
            key = self._key_ids.usable(named)
            return key, unseal(key.material, ciphertext, context or {})
        except Unreadable:
            raise KmsError(
                "InvalidCiphertextException",
                "The ciphertext is not one of this account's keys, is damaged, or has another encryption context.",
            ) from None


def _sealed(key: Key, plaintext: bytes, context: dict[str, str] | None) -> bytes:
    return seal(key.material, key.key_id, plaintext, context or {})


def _refuse(params: dict[str, Any]) -> None:
    refuse_grants(params)
    if params.get("DryRunModifiers"):
        raise ValidationException("Clary does not support DryRunModifiers.")
    for member in ("EncryptionAlgorithm", "SourceEncryptionAlgorithm", "DestinationEncryptionAlgorithm"):
        if params.get(member, _ALGORITHM) != _ALGORITHM:
            raise KmsError("InvalidKeyUsageException", f"{member} {params[member]} is not one of a symmetric key.")


def _end_dry_run(params: dict[str, Any]) -> None:
    if params.get("DryRun"):
        raise AwsError(
            code="DryRunOperationException", message="The request would have succeeded, but the DryRun option is set."
        )

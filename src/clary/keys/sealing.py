"""Ciphertexts under a key: made and read with AES-256-GCM. Called by the operations of KMS; knows no states and no files.

A ciphertext says which key it is under, as AWS's does, so that Decrypt needs no KeyId. Its form:

    1 byte    the version of the form
    16 bytes  the key's id
    16 bytes  salt
    12 bytes  nonce
    …         the sealed bytes, and GCM's tag of 16

Each ciphertext has a key of its own, made of the key's material and the salt: GCM under one key must not see a nonce twice,
and a random one may come again after some 2^32 of them. Head and encryption context are authenticated (AAD).
"""

import hmac
import secrets
from collections.abc import Mapping
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MATERIAL_BYTES = 32

_VERSION = b"\x01"
_ID_END = 17
_SALT_END = _ID_END + 16
_HEAD_END = _SALT_END + 12
_TAG_BYTES = 16
_canonical = msgspec.json.Encoder(order="deterministic")


class Unreadable(Exception):
    """No ciphertext of ours, a damaged one, or one with another encryption context."""


def seal(material: bytes, key_id: str, plaintext: bytes, context: Mapping[str, str]) -> bytes:
    """`plaintext` under the key with this id (a UUID) and material (32 secret bytes)."""
    salt = secrets.token_bytes(16)
    head = _VERSION + UUID(key_id).bytes + salt + secrets.token_bytes(12)
    return head + _cipher(material, salt).encrypt(head[_SALT_END:], plaintext, _authenticated(head, context))


def key_id_of(ciphertext: bytes) -> str:
    """The id of the key that a ciphertext says it is under. Raises `Unreadable`."""
    if ciphertext[:1] != _VERSION or len(ciphertext) < _HEAD_END + _TAG_BYTES:
        raise Unreadable
    return str(UUID(bytes=ciphertext[1:_ID_END]))


def unseal(material: bytes, ciphertext: bytes, context: Mapping[str, str]) -> bytes:
    """What was sealed with this material and context. Raises `Unreadable`."""
    head = ciphertext[:_HEAD_END]
    try:
        return _cipher(material, head[_ID_END:_SALT_END]).decrypt(
            head[_SALT_END:], ciphertext[_HEAD_END:], _authenticated(head, context)
        )
    except InvalidTag:
        raise Unreadable from None


def _cipher(material: bytes, salt: bytes) -> AESGCM:
    return AESGCM(hmac.digest(material, b"clary kms 1" + salt, "sha256"))


def _authenticated(head: bytes, context: Mapping[str, str]) -> bytes:
    return head + _canonical.encode(dict(context))

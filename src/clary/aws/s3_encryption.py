"""SSE-KMS at the gate for S3: which key a request means, whether it may be used, and what a store's error 500 was about.

The store takes the key's word from KMS and tells of every trouble with it as InternalError, which clients repeat. S3 says
what it was: KMS.NotFoundException, KMS.DisabledException, with status 400. So a key that is named is looked at before the
request goes on; and where the store failed, the keys that it may have needed are looked at afterwards: that of the object,
of the copy's source, of the bucket's default encryption. Called by `s3_gate`. Source: S3 API, x-amz-server-side-encryption.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import quote, unquote_to_bytes
from xml.sax.saxutils import escape, unescape

from clary.aws.errors import AwsError

ENCRYPTION = b"x-amz-server-side-encryption"
KEY_ID = ENCRYPTION + b"-aws-kms-key-id"

FindKey = Callable[[str | None], str]
"""The id of a key that can be used, by what a caller calls it, None for the account's own for S3. Raises `AwsError` of KMS."""

Ask = Callable[[str, bytes, bytes, bytes], Awaitable[tuple[int, Mapping[str, str], bytes]]]
"""Asks the store on our own account: method, path, query and body in; status, headers and body out."""

_DEFAULT_KEY = re.compile(rb"<KMSMasterKeyID>([^<]+)</KMSMasterKeyID>")
_DEFAULT_KMS = re.compile(rb"<SSEAlgorithm>aws:kms</SSEAlgorithm>")


class Encryption:
    """What the gate does about SSE-KMS."""

    def __init__(self, find_key: FindKey) -> None:
        self._find_key = find_key

    def key_of(self, headers: Mapping[bytes, bytes]) -> bytes | None:
        """The id of the key that a request asks for, None if it asks for none. Raises `AwsError`.

        `aws:kms` without a key means the account's own for S3, whatever the bucket's default is; SDK v2 asks so with every
        sourcedir.tar.gz.
        """
        wanted = headers.get(ENCRYPTION, b"")
        if wanted.startswith(b"aws:kms:"):
            raise AwsError(
                code="NotImplemented",
                message=f"Server-side encryption {wanted.decode('latin-1')} is not supported. Use aws:kms or AES256.",
                http_status=501,
            )
        if wanted != b"aws:kms":
            return None
        return self._usable(headers.get(KEY_ID, b"").decode("latin-1") or None).encode()

    async def explain(self, method: str, path: bytes, query: bytes, headers: Mapping[bytes, bytes], ask: Ask) -> None:
        """Raise the `AwsError` that a request failed by, if it was a key; `path` and `query` as the store has seen them."""
        bucket, _, key = path[1:].partition(b"/")
        if not key:
            return
        source = unquote_to_bytes(headers.get(b"x-amz-copy-source", b"")).lstrip(b"/")
        if method == "GET" or source:
            read, _, version = source.partition(b"?") if source else (b"", b"", _version_of(query))
            read_path = b"/" + quote(read, safe="-_.~/").encode() if source else path
            status, found, _ = await ask("HEAD", read_path, version, b"")
            named = found.get(KEY_ID.decode())
            if status == 200 and named:
                self._usable(named)
        elif ENCRYPTION not in headers:
            status, _, document = await ask("GET", b"/" + bucket, b"encryption=", b"")
            default = _DEFAULT_KEY.search(document)
            if status == 200 and default:
                self._usable(unescape(default[1].decode()))

    async def complete_default(self, bucket_path: bytes, ask: Ask) -> None:
        """Name the account's own key in a bucket's default encryption that names none: without, the store fails uploads in
        parts. Raises `AwsError` if that cannot be kept.
        """
        _, _, document = await ask("GET", bucket_path, b"encryption=", b"")
        if not _DEFAULT_KMS.search(document) or _DEFAULT_KEY.search(document):
            return
        named = f"<KMSMasterKeyID>{escape(self._usable(None))}</KMSMasterKeyID>".encode()
        status, _, _ = await ask(
            "PUT", bucket_path, b"encryption=", _DEFAULT_KMS.sub(lambda found: found[0] + named, document)
        )
        if status >= 300:
            raise AwsError(
                code="InternalError", message="The default key could not be set. Please try again.", http_status=500
            )

    def _usable(self, named: str | None) -> str:
        try:
            return self._find_key(named)
        except AwsError as error:
            raise AwsError(code=f"KMS.{error.code}", message=error.message) from None


def _version_of(query: bytes) -> bytes:
    return next((part for part in query.split(b"&") if part.startswith(b"versionId=")), b"")

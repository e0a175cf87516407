"""S3 URIs: the text of a request's S3Uri or S3OutputPath to a bucket and a key, and back.

Called by whoever reads such members. Nothing here asks a store.
"""

import re
from urllib.parse import unquote, urlsplit

import msgspec

# Source: API model, S3Uri: ^(https|s3)://([^/]+)/?(.*)$
_S3_URI = re.compile(r"(https|s3)://([^/]+)/?(.*)", re.DOTALL)
# bucket.s3.eu-west-1.amazonaws.com, bucket.s3-eu-west-1.amazonaws.com, bucket.s3.dualstack.eu-west-1.amazonaws.com.cn
_VIRTUAL_HOST = re.compile(r"(.+)\.s3[.-](?:[a-z0-9.-]+\.)?amazonaws\.com(?:\.cn)?")


class InvalidS3Uri(ValueError):
    """The text is no S3 URI."""


class S3Location(msgspec.Struct, frozen=True, kw_only=True):
    """A bucket, and a key or the prefix of keys: `key` is "" for the whole bucket."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def child(self, name: str) -> "S3Location":
        """The location of `name` below this one; exactly one slash stands between the two."""
        joined = name if not self.key else f"{self.key.removesuffix('/')}/{name}"
        return S3Location(bucket=self.bucket, key=joined)


def parse_s3_uri(uri: str) -> S3Location:
    """The bucket and key of "s3://bucket/key" or "https://…/key". Raises `InvalidS3Uri`.

    The key of the s3 form is taken as it stands, without any decoding. The https form is a URL: its key is
    percent-decoded, and its bucket is in the host name for AWS's virtual-hosted hosts and else the first part of the
    path (inferred; the model's pattern only allows the form).
    """
    match = _S3_URI.fullmatch(uri)
    if match is None:
        raise InvalidS3Uri(f"not an S3 URI: {uri!r}")
    scheme, host, rest = match.groups()
    if scheme == "s3":
        return S3Location(bucket=host, key=rest)
    url = urlsplit(uri)
    path = unquote(url.path.removeprefix("/"))
    virtual = _VIRTUAL_HOST.fullmatch(url.hostname or "")
    if virtual is not None:
        return S3Location(bucket=virtual[1], key=path)
    bucket, _, key = path.partition("/")
    if not bucket:
        raise InvalidS3Uri(f"no bucket in {uri!r}")
    return S3Location(bucket=bucket, key=key)

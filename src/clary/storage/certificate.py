"""A self-signed certificate for programs of one machine that must know each other.

`seaweedfs` uses it: the inner ports of the store take no request but from holders of this key. So does `app`, for the TLS
listener. The same certificate is server, client and root; it names 127.0.0.1 and localhost, or what else is asked for, and
does not run out. Its key is one on the curve P-256, which browsers know, too. Source: RFC 5280.
"""

import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_CURVE = ec.SECP256R1()
# Source: SEC 2, secp256r1: the order of its base point.
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
# Fixed dates, the last one meaning "never" (RFC 5280, 4.1.2.5): a machine whose clock is wrong must still start.
_SINCE = datetime(2000, 1, 1, tzinfo=UTC)
_FOREVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyPair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    private_key: bytes = field(repr=False)


def self_signed(seed: bytes, *, common_name: str, names: Sequence[str] = ("localhost", "127.0.0.1")) -> KeyPair:
    """The certificate of the key with this seed of 32 secret bytes, for hosts by name or IP address.

    The same arguments give the same certificate. For other names use another seed: two certificates of one key would have
    the same serial number.
    """
    if len(seed) != 32:
        raise ValueError("a seed has 32 bytes")
    key = ec.derive_private_key(int.from_bytes(hashlib.sha512(seed).digest(), "big") % (_ORDER - 1) + 1, _CURVE)
    public = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(int.from_bytes(b"\x01" + hashlib.sha256(public).digest()[:15], "big"))
        .not_valid_before(_SINCE)
        .not_valid_after(_FOREVER)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(both, critical=False)
        .add_extension(x509.SubjectAlternativeName([_host(host) for host in names]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    certificate = builder.sign(key, SHA256(), ecdsa_deterministic=True)
    return KeyPair(
        certificate=certificate.public_bytes(Encoding.PEM),
        private_key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def _host(host: str) -> x509.GeneralName:
    """A name of SubjectAltName (RFC 5280, 4.2.1.6)."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)

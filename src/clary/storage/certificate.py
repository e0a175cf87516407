"""A self-signed certificate for programs of one machine that must know each other, made with the standard library alone.

`seaweedfs` uses it: the inner ports of the store take no request but from holders of this key. So does `app`, for the TLS
listener. The same certificate is server, client and root; it names 127.0.0.1 and localhost, or what else is asked for, and
does not run out. Source: RFC 8032 (Ed25519), RFC 8410 (its keys in X.509), RFC 5280.

The signature is made once, in the process that keeps the key; the arithmetic is not constant in time and must not be
used to answer others.
"""

import base64
import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field

_P = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_BASE_Y = 4 * pow(5, -1, _P) % _P

_ED25519 = b"\x30\x05\x06\x03\x2b\x65\x70"  # AlgorithmIdentifier: OID 1.3.101.112 without parameters

_Point = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyPair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    private_key: bytes = field(repr=False)


def self_signed(seed: bytes, *, common_name: str, names: Sequence[str] = ("localhost", "127.0.0.1")) -> KeyPair:
    """The certificate of the Ed25519 key with this seed of 32 secret bytes, for hosts by name or IP address.

    The same arguments give the same certificate. For other names use another seed: two certificates of one key would have
    the same serial number.
    """
    if len(seed) != 32:
        raise ValueError("an Ed25519 seed has 32 bytes")
    public = _public_key(seed)
    name = _sequence(_tlv(0x31, _sequence(_oid("550403") + _tlv(0x0C, common_name.encode()))))
    serial = _tlv(0x02, b"\x01" + hashlib.sha256(public).digest()[:15])
    # Fixed dates, the last one meaning "never" (RFC 5280, 4.1.2.5): a machine whose clock is wrong must still start.
    validity = _sequence(_tlv(0x17, b"000101000000Z") + _tlv(0x18, b"99991231235959Z"))
    key_info = _sequence(_ED25519 + _tlv(0x03, b"\0" + public))
    hosts = _sequence(b"".join(_host(host) for host in names))
    extensions = _sequence(
        _extension("551d13", _sequence(_tlv(0x01, b"\xff")), critical=True)  # basicConstraints: is its own root
        + _extension("551d0f", _tlv(0x03, b"\x02\x84"), critical=True)  # keyUsage: digitalSignature, keyCertSign
        + _extension("551d25", _sequence(_oid("2b06010505070301") + _oid("2b06010505070302")))  # server and client
        + _extension("551d11", hosts)
        + _extension("551d0e", _tlv(0x04, hashlib.sha256(public).digest()[:20]))
    )
    version = _tlv(0xA0, _tlv(0x02, b"\x02"))
    to_sign = _sequence(version + serial + _ED25519 + name + validity + name + key_info + _tlv(0xA3, extensions))
    certificate = _sequence(to_sign + _ED25519 + _tlv(0x03, b"\0" + _sign(seed, public, to_sign)))
    private = _sequence(_tlv(0x02, b"\0") + _ED25519 + _tlv(0x04, _tlv(0x04, seed)))
    return KeyPair(certificate=_pem("CERTIFICATE", certificate), private_key=_pem("PRIVATE KEY", private))


def _host(host: str) -> bytes:
    """A name of SubjectAltName (RFC 5280, 4.2.1.6)."""
    try:
        return _tlv(0x87, ipaddress.ip_address(host).packed)
    except ValueError:
        return _tlv(0x82, host.encode("ascii"))


def _tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def _sequence(content: bytes) -> bytes:
    return _tlv(0x30, content)


def _oid(encoded: str) -> bytes:
    return _tlv(0x06, bytes.fromhex(encoded))


def _extension(oid: str, value: bytes, *, critical: bool = False) -> bytes:
    return _sequence(_oid(oid) + (_tlv(0x01, b"\xff") if critical else b"") + _tlv(0x04, value))


def _pem(label: str, der: bytes) -> bytes:
    return b"-----BEGIN %b-----\n%b-----END %b-----\n" % (label.encode(), base64.encodebytes(der), label.encode())


def _add(a: _Point, b: _Point) -> _Point:
    """Sum of two points in extended coordinates (RFC 8032, 5.1.4)."""
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % _P, (a[1] + a[0]) * (b[1] + b[0]) % _P
    g, h = 2 * a[3] * b[3] * _D % _P, 2 * a[2] * b[2] % _P
    s, t, u, v = f - e, h - g, h + g, f + e
    return s * t % _P, u * v % _P, t * u % _P, s * v % _P


def _times(factor: int, point: _Point) -> _Point:
    product: _Point = (0, 1, 1, 0)
    while factor:
        if factor & 1:
            product = _add(product, point)
        point = _add(point, point)
        factor >>= 1
    return product


def _base() -> _Point:
    """The point with y = 4/5 and even x."""
    square = (_BASE_Y * _BASE_Y - 1) * pow(_D * _BASE_Y * _BASE_Y + 1, -1, _P)
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * pow(2, (_P - 1) // 4, _P) % _P
    x = x if x % 2 == 0 else _P - x
    return x, _BASE_Y, 1, x * _BASE_Y % _P


def _encoded(point: _Point) -> bytes:
    inverse = pow(point[2], -1, _P)
    x, y = point[0] * inverse % _P, point[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _expanded(seed: bytes) -> tuple[int, bytes]:
    digest = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(digest[:32], "little") & ((1 << 254) - 8) | (1 << 254)
    return scalar, digest[32:]


def _public_key(seed: bytes) -> bytes:
    return _encoded(_times(_expanded(seed)[0], _base()))


def _sign(seed: bytes, public: bytes, message: bytes) -> bytes:
    scalar, prefix = _expanded(seed)
    nonce = int.from_bytes(hashlib.sha512(prefix + message).digest(), "little") % _ORDER
    commitment = _encoded(_times(nonce, _base()))
    challenge = int.from_bytes(hashlib.sha512(commitment + public + message).digest(), "little") % _ORDER
    return commitment + ((nonce + challenge * scalar) % _ORDER).to_bytes(32, "little")

"""Bodies in AWS's chunked encoding are decoded however they are cut, and nothing altered passes for whole."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.aws.aws_chunked import (
    SIGNED,
    SIGNED_TRAILER,
    UNSIGNED_TRAILER,
    AwsChunkedError,
    Decoder,
    Incomplete,
    Malformed,
    Seed,
    WrongSignature,
)
from clary.aws.sigv4 import SigningKeys

# The examples of "Signature calculations ... multiple chunks" and of its page on trailing headers, S3 API reference.
_KEY = SigningKeys().derive("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "20130524", "us-east-1", "s3")
_SIGNATURES = (
    "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
    "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
    "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
)
_TRAILER_SIGNATURES = (
    "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
    "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
    "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
)
_CRC32C = frozenset({b"x-amz-checksum-crc32c"})
_CRC32 = frozenset({b"x-amz-checksum-crc32"})


def _seed(signature):
    return Seed(
        signing_key=_KEY, amz_date="20130524T000000Z", scope="20130524/us-east-1/s3/aws4_request", signature=signature
    )


_SEED = _seed("4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9")


def _example(signatures):
    first, second, last = (signature.encode() for signature in signatures)
    return (
        b"10000;chunk-signature=%b\r\n%b\r\n400;chunk-signature=%b\r\n%b\r\n0;chunk-signature=%b\r\n"
        % (first, b"a" * 65536, second, b"a" * 1024, last)
    )  # fmt: skip


def _decode(decoder, body, step=4096):
    decoded = b"".join(b"".join(decoder.feed(body[at : at + step])) for at in range(0, len(body), step))
    decoder.finish()
    return decoded


def _signed(pieces, *, trailers=(), seed=_SEED):
    """A body as a signer makes it, and for what decoder."""
    body, previous = b"", seed.signature
    empty = hashlib.sha256(b"").hexdigest()

    def sign(kind, end):
        text = f"{kind}\n{seed.amz_date}\n{seed.scope}\n{previous}\n{end}"
        return hmac.digest(seed.signing_key, text.encode(), "sha256").hex()

    for piece in [*pieces, b""]:
        previous = sign("AWS4-HMAC-SHA256-PAYLOAD", f"{empty}\n{hashlib.sha256(piece).hexdigest()}")
        body += b"%x;chunk-signature=%b\r\n" % (len(piece), previous.encode()) + (piece and piece + b"\r\n")
    if trailers:
        text = b"".join(b"%b:%b\n" % trailer for trailer in trailers)
        body += b"".join(b"%b:%b\r\n" % trailer for trailer in trailers)
        proof = sign("AWS4-HMAC-SHA256-TRAILER", hashlib.sha256(text).hexdigest())
        body += b"x-amz-trailer-signature:%b\r\n" % proof.encode()
    return body + b"\r\n"


def _unsigned(pieces, trailer=b"x-amz-checksum-crc32:AAAAAA==\r\n"):
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n" + trailer + b"\r\n"


def _decoder(payload, length, names=frozenset()):
    return Decoder(payload, seed=None if payload == UNSIGNED_TRAILER else _SEED, length=length, trailer_names=names)


@pytest.mark.parametrize("step", [1, 7, 1000, 100_000])
def test_the_published_example_of_signed_chunks(step):
    """The body of AWS's own example is proved, whatever the pieces in which it comes."""
    decoder = _decoder(SIGNED, 66_560)
    assert _decode(decoder, _example(_SIGNATURES) + b"\r\n", step) == b"a" * 66_560
    assert decoder.done


def test_the_published_example_with_a_trailer():
    """The example with a trailing checksum is proved too, its trailer's signature included."""
    seed = _seed("106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e")
    decoder = Decoder(SIGNED_TRAILER, seed=seed, length=66_560, trailer_names=_CRC32C)
    signature = b"d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435"
    end = b"x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:%b\r\n\r\n" % signature
    assert _decode(decoder, _example(_TRAILER_SIGNATURES) + end) == b"a" * 66_560
    assert decoder.trailers == [(b"x-amz-checksum-crc32c", b"sOO8/Q==")]


_PIECES = st.lists(st.binary(min_size=1, max_size=200), max_size=6)


@given(_PIECES, st.integers(1, 300))
def test_any_body_in_any_pieces(pieces, step):
    """Decoding gives back the object, for each of the three kinds."""
    whole = b"".join(pieces)
    trailer = (b"x-amz-checksum-crc32", b"AAAAAA==")
    assert _decode(_decoder(SIGNED, len(whole)), _signed(pieces), step) == whole
    for payload, body in ((SIGNED_TRAILER, _signed(pieces, trailers=[trailer])), (UNSIGNED_TRAILER, _unsigned(pieces))):
        decoder = _decoder(payload, len(whole), _CRC32)
        assert _decode(decoder, body, step) == whole
        assert decoder.trailers == [trailer]


@given(_PIECES, st.data())
def test_no_altered_signed_body_is_whole(pieces, data):
    """Whatever single byte is changed, the body is refused, or what came out is what the caller signed."""
    trailers = data.draw(st.sampled_from([(), ((b"x-amz-checksum-crc32", b"AAAAAA=="),)]))
    body = bytearray(_signed(pieces, trailers=trailers))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= data.draw(st.integers(1, 255))
    whole = b"".join(pieces)
    decoder = _decoder(SIGNED_TRAILER if trailers else SIGNED, len(whole), _CRC32 if trailers else frozenset())
    try:
        decoded = _decode(decoder, bytes(body))
    except AwsChunkedError:
        return
    assert decoded == whole
    assert tuple(decoder.trailers) == trailers


@given(_PIECES, st.data())
def test_no_shortened_body_is_whole(pieces, data):
    """A body that was cut anywhere but behind its end is incomplete."""
    whole = b"".join(pieces)
    for payload, body in ((SIGNED, _signed(pieces)), (UNSIGNED_TRAILER, _unsigned(pieces))):
        cut = data.draw(st.integers(0, len(body) - 1))
        decoder = _decoder(payload, len(whole), frozenset() if payload == SIGNED else _CRC32)
        with pytest.raises(Incomplete):
            _decode(decoder, body[:cut])


def test_chunks_in_another_order_are_refused():
    """Each chunk's signature is chained to the one before."""
    body = _signed([b"a" * 10, b"b" * 10])
    size = len(body.split(b"b" * 10)[0]) // 2
    swapped = body[size : 2 * size] + body[:size] + body[2 * size :]
    assert len(swapped) == len(body)
    with pytest.raises(AwsChunkedError):
        _decode(_decoder(SIGNED, 20), swapped)


@pytest.mark.parametrize(
    ("payload", "body", "error"),
    [
        (SIGNED, b"3\r\nabc\r\n0\r\n\r\n", Malformed),  # signatures left out
        (UNSIGNED_TRAILER, b"3;chunk-signature=x\r\nabc\r\n0\r\n\r\n", Malformed),
        (UNSIGNED_TRAILER, b"zz\r\nabc\r\n", Malformed),
        (UNSIGNED_TRAILER, b"-3\r\nabc\r\n", Malformed),
        (UNSIGNED_TRAILER, b"11111111111111111\r\nabc", Malformed),
        (UNSIGNED_TRAILER, b"3\r\nabcd\r\n", Malformed),
        (UNSIGNED_TRAILER, b"4\r\nabcd\r\n", Incomplete),  # longer than announced
        (UNSIGNED_TRAILER, b"2\r\nab\r\n0\r\nx-amz-checksum-crc32:A\r\n\r\n", Incomplete),  # shorter
        (UNSIGNED_TRAILER, b"3\r\nabc\r\n0\r\n\r\n", Malformed),  # the announced trailer is missing
        (UNSIGNED_TRAILER, b"3\r\nabc\r\n0\r\nx-amz-meta-a:1\r\n\r\n", Malformed),  # one that was not announced
        (UNSIGNED_TRAILER, b"3\r\nabc\r\n0\r\n" + b"x-amz-checksum-crc32:A\r\n" * 2 + b"\r\n", Malformed),
        (UNSIGNED_TRAILER, b"3\r\nabc\r\n0\r\nno colon\r\n\r\n", Malformed),
        (UNSIGNED_TRAILER, b"3\r\nabc\r\n0\r\nx-amz-checksum-crc32:A\r\n\r\nmore", Malformed),
        (UNSIGNED_TRAILER, b"9" * 5000, Malformed),  # a line without an end takes no memory
    ],
)
def test_malformed_bodies(payload, body, error):
    """What is wrong with a body is told from a body that ended early."""
    names = frozenset() if payload == SIGNED else _CRC32
    for step in (1, 4096):
        with pytest.raises(error):
            _decode(_decoder(payload, 3, names), body, step)


def test_trailers_must_be_signed():
    """In a signed body nobody can add or exchange a trailer, or leave out its signature."""
    trailer = (b"x-amz-checksum-crc32", b"AAAAAA==")
    body = _signed([b"abc"], trailers=[trailer])
    with pytest.raises(WrongSignature):
        _decode(_decoder(SIGNED_TRAILER, 3, _CRC32), body.replace(b"AAAAAA==", b"BBBBBA=="))
    unsigned = body[: body.index(b"x-amz-trailer-signature")] + b"\r\n\r\n"
    with pytest.raises(AwsChunkedError):
        _decode(_decoder(SIGNED_TRAILER, 3, _CRC32), unsigned)
    with pytest.raises(WrongSignature):
        _decode(_decoder(SIGNED_TRAILER, 3, _CRC32), body[: body.index(b"x-amz-checksum")] + b"\r\n")


def test_memory_does_not_grow_with_the_chunk():
    """A chunk of a gigabyte passes piece by piece: nothing but the framing is kept."""
    decoder = _decoder(UNSIGNED_TRAILER, 1 << 30)
    decoder.feed(b"40000000\r\n")
    piece = b"x" * 65_536
    for _ in range(100):
        assert sum(map(len, decoder.feed(piece))) == len(piece)
    assert len(decoder._line) == 0


def test_unknown_kinds_are_refused():
    """Elliptic-curve signatures, for one, are not decoded as if they were none."""
    with pytest.raises(Malformed):
        Decoder("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", seed=_SEED, length=1, trailer_names=frozenset())
    with pytest.raises(ValueError, match="needs a seed"):
        Decoder(SIGNED, seed=None, length=1, trailer_names=frozenset())

"""Ciphertexts under a key."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.keys.sealing import Unreadable, key_id_of, seal, unseal

MATERIAL, OTHER = b"m" * 32, b"o" * 32
KEY_ID = str(uuid.UUID(int=7))
CONTEXTS = st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3)


@given(plaintext=st.binary(max_size=5000), context=CONTEXTS)
def test_what_was_sealed_comes_back(plaintext, context):
    """Under the same context, in whatever order its pairs stand; and the ciphertext tells its key."""
    sealed = seal(MATERIAL, KEY_ID, plaintext, context)
    assert key_id_of(sealed) == KEY_ID
    assert unseal(MATERIAL, sealed, dict(reversed(context.items()))) == plaintext


def test_the_same_never_looks_the_same():
    """Two ciphertexts of one plaintext have nothing to compare but their key."""
    assert len({seal(MATERIAL, KEY_ID, b"x" * 32, {})[17:] for _ in range(50)}) == 50


@pytest.mark.parametrize("context", [{}, {"a": "2"}, {"a": "1", "b": ""}, {"b": "1"}])
def test_another_context_reads_nothing(context):
    """The context is authenticated, every name and value of it."""
    with pytest.raises(Unreadable):
        unseal(MATERIAL, seal(MATERIAL, KEY_ID, b"x", {"a": "1"}), context)


def test_another_key_reads_nothing():
    """Nor the same id with other material."""
    with pytest.raises(Unreadable):
        unseal(OTHER, seal(MATERIAL, KEY_ID, b"x", {}), {})


def test_every_byte_counts():
    """A ciphertext with any bit turned is unreadable: as a whole, or with the key that it names then."""
    sealed = seal(MATERIAL, KEY_ID, b"plain", {})
    for place in range(len(sealed)):
        bent = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        with pytest.raises(Unreadable):
            key_id_of(bent)
            unseal(MATERIAL, bent, {})


@pytest.mark.parametrize("junk", [b"", b"\x01", b"\x01" * 60, b"\x02" * 61, b"x" * 100])
def test_junk_is_no_ciphertext(junk):
    """Whatever is too short or of another form."""
    with pytest.raises(Unreadable):
        key_id_of(junk)

"""Opaque page tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.aws.errors import ValidationException
from clary.aws.paging import PageTokens

TOKENS = PageTokens(b"k" * 32)
QUERY = {"operation": "ListTrainingJobs", "NameContains": "x", "SortBy": "Name"}

cursors = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(cursors, st.dictionaries(st.text(), st.text() | st.integers(0, 100), max_size=4))
def test_a_cursor_comes_back_to_its_query(cursor, query):
    """Any JSON cursor, any query, in whatever order its members are given."""
    token = TOKENS.issue(cursor, query)
    assert TOKENS.read(token, dict(reversed(query.items()))) == cursor
    assert token.isascii()
    assert "=" not in token


@given(st.data())
def test_an_altered_token_is_refused(data):
    """Change, add or cut any character."""
    token = TOKENS.issue(["2023", "job"], QUERY)
    position = data.draw(st.integers(0, len(token) - 1))
    insert = data.draw(st.text(max_size=2))
    altered = token[:position] + insert + token[position + 1 :]
    if altered != token:
        with pytest.raises(ValidationException):
            TOKENS.read(altered, QUERY)


@pytest.mark.parametrize("token", ["", "a", "AAAA", "=", "é", "A" * 5000])
def test_no_token_at_all_is_refused(token):
    """What was never issued is no server error."""
    with pytest.raises(ValidationException):
        TOKENS.read(token, QUERY)


def test_a_token_of_another_query_or_key_is_refused():
    """A caller cannot carry a cursor to another listing, or from another installation."""
    token = TOKENS.issue(1, QUERY)
    with pytest.raises(ValidationException):
        TOKENS.read(token, {**QUERY, "SortBy": "Status"})
    with pytest.raises(ValidationException):
        PageTokens(b"another key").read(token, QUERY)

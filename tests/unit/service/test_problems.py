"""Many problems in one text."""

from clary.service.problems import SHOWN_MAX, SHOWN_MAX_CHARACTERS, as_text


def test_problems_are_joined():
    assert as_text(["a", "b"]) == "a; b"


def test_a_text_is_bounded_and_says_what_it_leaves_out():
    """However many problems there are, and however long."""
    text = as_text(["x" * 10_000] * (SHOWN_MAX + 3))

    assert text.endswith("…; and 3 more")
    assert len(text) < SHOWN_MAX * (SHOWN_MAX_CHARACTERS + 5) + 20

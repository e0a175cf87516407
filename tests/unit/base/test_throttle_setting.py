"""The setting `throttle_rps`."""

import pytest

from clary.base.settings import InvalidSetting, load


def rates(value):
    return load({"throttle_rps": value}, {}).throttle_rps


def test_a_number_counts_for_every_class():
    """A plain number, a mapping, nothing."""
    assert rates("2.5") == {"create": 2.5, "read": 2.5, "write": 2.5}
    assert rates("create=1, read=20") == {"create": 1, "read": 20}
    assert rates("") == {}


@pytest.mark.parametrize("value", ["0", "-1", "x", "create=", "create=0", "delete=1", "1 2", "create=1e9"])
def test_nonsense_is_refused_by_name(value):
    """A slip of the pen must not switch throttling off."""
    with pytest.raises(InvalidSetting, match="throttle_rps"):
        rates(value)

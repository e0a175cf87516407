"""What the setting `volumes` comes to."""

from pathlib import Path

import pytest

from clary.runtimes.volume_setting import VolumeSetting

WHY = "only root can mount volumes. Cure: run Clary as root"


def setting(value, *answers):
    left = iter(answers)
    return VolumeSetting(value, Path("/nowhere"), problem=lambda _directory: next(left))


@pytest.mark.parametrize("value", ["auto", "required"])
def test_volumes_are_given_where_they_can_be_made(value):
    """One look is enough."""
    found = setting(value, None)
    assert (found.given(), found.problem(), found.given()) == (True, None, True)


def test_without_them_auto_only_records_the_size():
    """Jobs are taken."""
    found = setting("auto", WHY)
    assert (found.given(), found.problem()) == (False, None)


def test_off_does_not_even_look():
    """Whatever the machine could do."""
    found = setting("off")
    assert (found.given(), found.problem()) == (False, None)


def test_required_refuses_without_them():
    """With the reason and the cure."""
    found = setting("required", WHY)
    assert not found.given()
    assert found.problem() == (
        f"The setting `volumes` asks for volumes, and there are none: {WHY}, and start Clary again"
    )

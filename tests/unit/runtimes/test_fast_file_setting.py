"""What the setting `fast_file` comes to."""

from pathlib import Path

import pytest

from clary.runtimes.fast_file_setting import FastFileSetting

WHY = "libfuse3 is missing. Cure: apt-get install fuse3"


class Machine:
    """Answers one after the other, and a clock."""

    def __init__(self, setting, *answers):
        self.answers = list(answers)
        self.now = 0.0
        self.setting = FastFileSetting(
            setting, Path("/nowhere"), problem=lambda _directory: self.answers.pop(0), monotonic=lambda: self.now
        )


@pytest.mark.parametrize("value", ["refuse", "download"])
def test_channels_are_mounted_where_they_can_be(value):
    """One look is enough."""
    setting = Machine(value, None).setting
    assert (setting.refusal(), setting.way(), setting.refusal()) == (None, "mount", None)


def test_jobs_are_refused_where_nothing_can_be_mounted():
    """With the reason and both cures."""
    setting = Machine("refuse", WHY).setting
    assert setting.refusal() == (
        f'{WHY}, or set fast_file = "download", which brings all of a channel before the program starts'
    )


def test_or_channels_are_downloaded():
    """As the setting says."""
    setting = Machine("download", WHY).setting
    assert (setting.refusal(), setting.way()) == (None, "download")


def test_a_machine_that_was_mended_is_noticed():
    """After a minute."""
    machine = Machine("download", WHY, None)
    assert machine.setting.way() == "download"
    machine.now = 61
    assert machine.setting.way() == "mount"


def test_who_refuses_need_not_look_to_know_the_way():
    """The instance finds out."""
    assert Machine("refuse").setting.way() == "mount"

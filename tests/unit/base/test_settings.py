"""Where settings come from, and what is refused."""

from pathlib import Path

import pytest

from clary.base.settings import SETTINGS, InvalidSetting, load


def settings(tmp_path, environment=None, **command_line):
    return load({"home": str(tmp_path)} | command_line, environment or {})


def test_the_command_line_beats_the_environment_which_beats_the_file(tmp_path):
    (tmp_path / "config.toml").write_text('region = "eu-west-1"\ninstances = 3\nlisten = "127.0.0.1:1"\n')
    environment = {"CLARY_INSTANCES": "5", "CLARY_LISTEN": "127.0.0.1:2"}

    got = settings(tmp_path, environment, listen="127.0.0.1:3")

    assert (got.region, got.instances, got.listen_port) == ("eu-west-1", 5, 3)


def test_every_setting_has_a_default_that_is_valid(tmp_path):
    got = settings(tmp_path)

    assert got.home == tmp_path
    assert (got.listen_host, got.listen_port) == ("127.0.0.1", 7243)
    assert len({setting.name for setting in SETTINGS}) == len(SETTINGS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("listen", "nowhere"),
        ("listen", "example.org:80"),
        ("listen", "127.0.0.1:70000"),
        ("account_id", "12"),
        ("region", "local"),
        ("instances", "0"),
        ("instances", "many"),
        ("log_level", "loud"),
        ("body_limit_bytes", "-1"),
        ("file_systems", "fs-0123abcd"),
        ("file_systems", "fs-0123abcd=relative"),
        ("file_systems", "fs-0123abcd=/a fs-0123abcd=/b"),
        ("file_systems", "efs=/a"),
    ],
)
def test_a_bad_value_is_refused_by_name(tmp_path, name, value):
    with pytest.raises(InvalidSetting, match=f"^{name}: "):
        settings(tmp_path, {f"CLARY_{name.upper()}": value})


@pytest.mark.parametrize("text", ["regoin = 'eu-west-1'", "instances = true", "instances = [1]", "region = "])
def test_a_slip_in_the_file_is_refused_with_its_path(tmp_path, text):
    (tmp_path / "config.toml").write_text(text)

    with pytest.raises(InvalidSetting, match=r"config\.toml"):
        settings(tmp_path)


def test_a_file_that_was_named_must_be_there(tmp_path):
    with pytest.raises(InvalidSetting, match="there is no file"):
        settings(tmp_path, config=str(tmp_path / "missing.toml"))


def test_ipv6_and_localhost_are_addresses(tmp_path):
    assert settings(tmp_path, listen="[::1]:0").listen_host == "::1"
    assert settings(tmp_path, listen="localhost:0").listen_host == "127.0.0.1"


def test_the_home_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))

    assert load({}, {}).home == Path(tmp_path) / ".clary"


def test_file_systems_are_pairs_of_id_and_directory(tmp_path):
    """Separated by any blanks; a directory may hold blanks and equals signs itself."""
    text = "\n fs-0123abcd=/srv/my data=1  fs-89abcdef01=/b\nfs-00000000=/c "
    expected = {"fs-0123abcd": Path("/srv/my data=1"), "fs-89abcdef01": Path("/b"), "fs-00000000": Path("/c")}
    assert settings(tmp_path, {"CLARY_FILE_SYSTEMS": text}).file_systems == expected
    (tmp_path / "config.toml").write_text(f'file_systems = """{text}"""')
    assert settings(tmp_path).file_systems == expected

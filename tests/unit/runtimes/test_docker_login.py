"""Who logs in at a registry: the helper that the task names, or Docker's own configuration."""

import base64
import json

import pytest

from clary.runtimes.docker.login import LoginFailed, find_login


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Writes Docker's config.json."""

    def write(document):
        text = document if isinstance(document, str) else json.dumps(document)
        (tmp_path / "config.json").write_text(text)

    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return write


def basic(user, password):
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_a_helper_is_asked_for_the_registry(helper, tmp_path):
    """By the registry's host, on its standard input; its answer is what the engine shows."""
    login = find_login("reg.example:5000", helper("mine", me="secret"))

    assert login.auth_config == {"serveraddress": "reg.example:5000", "username": "me", "password": "secret"}
    assert (tmp_path / "asked-mine").read_text() == "get reg.example:5000\n"


def test_a_helper_may_give_an_identity_token(helper):
    """Under the user name that says so."""
    login = find_login("reg.example", helper("mine", **{"<token>": "T"}))

    assert login.auth_config == {"serveraddress": "reg.example", "identitytoken": "T"}


@pytest.mark.parametrize(
    ("says", "told"), [("no such vault", "refused: no such vault"), ("", "refused: it said nothing")]
)
def test_a_helper_that_fails_says_why(helper, says, told):
    """In its own words."""
    with pytest.raises(LoginFailed, match=told):
        find_login("reg.example", helper("broken", says=says))


def test_a_helper_that_is_not_there_or_babbles(tmp_path):
    """Its command is named, and what it said is not: it may be a secret."""
    with pytest.raises(LoginFailed, match="/nowhere/helper cannot be run: No such file"):
        find_login("reg.example", ("/nowhere/helper",))
    with pytest.raises(LoginFailed, match="/bin/echo gave no answer that can be read") as error:
        find_login("reg.example", ("/bin/echo", "s3cret"))
    assert "s3cret" not in str(error.value)


def test_without_any_configuration_there_is_no_login(config):
    """And no trouble: most images are for everybody."""
    login = find_login("reg.example", ())

    assert (login.auth_config, login.trouble) == (None, None)


@pytest.mark.parametrize("key", ["reg.example", "https://reg.example", "https://reg.example/v2/"])
def test_a_login_of_docker_login(config, key):
    """Under the registry's host or an URL of it."""
    config({"auths": {key: basic("me", "pw"), "other.example": basic("x", "y")}})

    assert {"username": "me", "password": "pw"}.items() <= find_login("reg.example", ()).auth_config.items()
    assert find_login("third.example", ()).auth_config is None


def test_a_login_at_dockers_hub(config):
    """Which goes by its old URL."""
    config({"auths": {"https://index.docker.io/v1/": basic("me", "pw")}})

    assert find_login("docker.io", ()).auth_config["username"] == "me"


def test_helpers_of_the_configuration(config, helper, monkeypatch, tmp_path):
    """One for a registry comes before the store for all."""
    command = helper("docker-credential-vault", me="one")
    helper("docker-credential-store", me="all")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    config({"credHelpers": {"reg.example": "vault"}, "credsStore": "store"})

    assert command
    assert find_login("reg.example", ()).auth_config["password"] == "one"
    assert find_login("other.example", ()).auth_config["password"] == "all"


def test_a_store_that_knows_no_login_leaves_it_to_the_file(config, helper, monkeypatch, tmp_path):
    """As every helper says it."""
    helper("docker-credential-store", says="credentials not found in native keychain")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    config({"credsStore": "store", "auths": {"reg.example": basic("me", "pw"), "empty.example": {}}})

    assert find_login("reg.example", ()).auth_config["username"] == "me"
    assert find_login("empty.example", ()).auth_config is None


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"credsStore": "desktop"}, "docker-credential-desktop cannot be run"),
        ({"auths": {"reg.example": {"auth": "???"}}}, "config.json cannot be read"),
        ({"auths": {"reg.example": "x"}}, "config.json cannot be read"),
    ],
)
def test_a_broken_configuration_is_trouble_and_no_error(config, document, told):
    """Images that everybody may read are pulled all the same; others fail with it."""
    config(document)
    login = find_login("reg.example", ())

    assert login.auth_config is None
    assert told in login.trouble

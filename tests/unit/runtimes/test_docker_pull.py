"""Images come from a real registry to a real engine: with progress, patience, logins, and errors that help."""

import json
import os
import time

import pytest
import requests

from clary.runtimes.docker.engine import connect, find_engine
from clary.runtimes.docker.pull import provide
from clary.runtimes.port import EngineAway, ImageUnusable
from image_registry import ImageRegistry

pytestmark = pytest.mark.docker

ENGINE = find_engine("auto", {})
NEVER = bool  # the function that answers False


@pytest.fixture(autouse=True)
def no_docker_configuration(tmp_path, monkeypatch):
    """Whatever the person who runs the tests is logged in at."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "no-docker"))


@pytest.fixture
def engine():
    with connect(ENGINE) as client:
        yield client


@pytest.fixture
def registry(engine):
    """A registry; what was pulled from it is removed at the end."""
    with ImageRegistry() as registry:
        yield registry
    forget(engine, registry)


def forget(engine, registry):
    for image in engine.images(all=True, filters={"label": f"test={registry.host}"}):
        engine.remove_image(image["Id"], force=True)


def unique():
    """A layer that no other test has, so that the engine has to fetch it."""
    return os.urandom(16)


def pull(engine, reference, said=None, *, helper=(), cancelled=NEVER, pauses_s=(), **options):
    say = [].append if said is None else said.append
    return provide(engine, reference, helper, say, cancelled, pauses_s=pauses_s, **options)


def test_an_image_is_pulled_and_named_exactly(engine, registry):
    """The digest of its manifest names it from then on; a second call asks nobody."""
    digest = registry.push("me/tool", "1", layers=(unique(), unique()))
    reference = f"{registry.host}/me/tool:1"

    assert pull(engine, reference) == f"{registry.host}/me/tool@{digest}"
    assert engine.inspect_image(f"{registry.host}/me/tool@{digest}")["Config"]["Labels"] == {"test": registry.host}
    asked = len(registry.requests)
    assert pull(engine, reference) == f"{registry.host}/me/tool@{digest}"
    assert pull(engine, f"{reference}@{digest}") == f"{registry.host}/me/tool@{digest}"
    assert len(registry.requests) == asked


def test_a_digest_is_honoured(engine, registry):
    """By its digest, an image is had that no tag names any more."""
    old = registry.push("me/tool", layers=(unique(),))
    new = registry.push("me/tool", layers=(unique(),))

    assert pull(engine, f"{registry.host}/me/tool@{old}") == f"{registry.host}/me/tool@{old}"
    assert pull(engine, f"{registry.host}/me/tool") == f"{registry.host}/me/tool@{new}"


def test_an_image_of_this_machine_needs_no_registry(engine, registry):
    """One that was built here is named by its id, and found by name and id."""
    registry.push("me/tool", layers=(unique(),))
    pull(engine, f"{registry.host}/me/tool")
    name = f"clary-test-{registry.host.partition(':')[2]}"
    image = engine.inspect_image(f"{registry.host}/me/tool")["Id"]
    engine.tag(image, f"{name}/local", "1")

    assert pull(engine, f"{name}/local:1") == image
    assert pull(engine, image) == image


def test_an_id_that_is_not_here_cannot_be_pulled(engine):
    """No registry knows ids."""
    with pytest.raises(ImageUnusable, match=r"'sha256:0000.* is not on this machine .* an id cannot be pulled"):
        pull(engine, "sha256:" + "0" * 64)


def test_progress_is_told_in_one_line(engine, registry):
    """Layers and bytes, a few times, each line beginning with SageMaker's own words."""
    registry.push("me/tool", layers=(unique(), os.urandom(3_000_000)))
    registry.blob_pause_s = 0.2  # until all has been told, or for nine seconds
    first = "Downloading the training image"
    count, size = f"{first}: 1 of 2 layers, ", " MB of 3.0 MB"

    class Said(list):
        def append(self, line):
            super().append(line)
            if line.startswith(count) and line.endswith(size):
                registry.blob_pause_s = 0

    said = Said()
    pull(engine, f"{registry.host}/me/tool", said)

    assert said[0] == first
    assert any(line.startswith(count) for line in said)
    assert any(line.endswith(size) for line in said)
    assert len(said) <= 60


def test_a_pull_is_cancelled_at_once_and_ends_in_the_engine(engine, registry):
    """Within moments, though the registry says nothing more; the engine lets go of the registry."""
    registry.push("me/tool", layers=(os.urandom(20_000_000),))
    registry.blob_pause_s = 0.3  # it would take a minute and a half
    asked_at = []

    def cancelled():
        blobs = [path for path in registry.requests if "/blobs/" in path]
        if len(blobs) < 2:  # the configuration, then the layer
            return False
        asked_at.append(time.monotonic())
        return time.monotonic() > asked_at[0] + 0.5

    assert pull(engine, f"{registry.host}/me/tool", cancelled=cancelled) is None
    assert time.monotonic() - asked_at[0] < 30
    assert registry.aborted.wait(60)


def test_a_pull_of_which_the_engine_says_nothing_yet_is_cancelled_too(engine, registry):
    """The registry keeps the engine waiting before the first word."""
    registry.push("me/tool", layers=(unique(),))
    registry.hold.clear()
    begun = time.monotonic()

    assert pull(engine, f"{registry.host}/me/tool", cancelled=lambda: time.monotonic() > begun + 0.5) is None
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize("status", [500, 503, 429, 0])
def test_trouble_of_the_registry_is_waited_for(engine, registry, status):
    """An error or a broken connection at the manifest is tried again, and the user sees why it takes long."""
    digest = registry.push("me/tool", layers=(unique(),))
    registry.fail("/manifests/", *[status] * 3)  # the engine asks twice by itself
    said = []

    assert pull(engine, f"{registry.host}/me/tool", said, pauses_s=[0.05] * 4).endswith(digest)
    assert any(f"the registry {registry.host} gives trouble, trying again" in line for line in said)


def test_trouble_is_waited_for_with_bounds(engine, registry):
    """Then the text says what the engine said and what to try."""
    with pytest.raises(ImageUnusable) as error:
        pull(engine, "127.0.0.1:1/me/tool:1", pauses_s=(0.01, 0.01))

    assert "'127.0.0.1:1/me/tool:1' cannot be pulled" in str(error.value)
    assert "connection refused" in str(error.value)
    assert "check the name and the engine's network" in str(error.value)


def test_a_waiting_pull_is_cancelled(engine):
    """Between two attempts, too."""
    begun = time.monotonic()

    assert pull(engine, "127.0.0.1:1/a", cancelled=lambda: time.monotonic() > begun + 0.3, pauses_s=(60,)) is None
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize(
    ("name", "cure"),
    [("me/tool:2", "Check the spelling"), ("you/tool", "Check the spelling"), ("me/tool@sha256:" + "1" * 64, "Check")],
)
def test_an_image_that_is_not_there_is_told_at_once(engine, registry, name, cure):
    """Nothing is tried again; the text names the image and the cure."""
    registry.push("me/tool", layers=(unique(),))
    with pytest.raises(ImageUnusable) as error:
        pull(engine, f"{registry.host}/{name}", pauses_s=(60,))

    assert f"'{registry.host}/{name}" in str(error.value)
    assert cure in str(error.value)


def test_what_is_no_name_of_an_image(engine):
    """It is not even asked for."""
    with pytest.raises(ImageUnusable, match="'Me Tool' is no name of an image"):
        pull(engine, "Me Tool")


def test_another_architecture_is_refused(engine, registry, tmp_path):
    """Both are named, whether the registry has one image or a list of them; with an emulator the first runs."""
    registry.push("me/tool", layers=(unique(),), architecture="s390x")
    registry.push("me/list", layers=(unique(),), architecture="s390x", listed_for="s390x")
    ours = f"linux/{engine.version()['Arch']}"

    with pytest.raises(
        ImageUnusable, match=f"is built for linux/s390x, and this machine is {ours}. Build it for {ours}"
    ):
        pull(engine, f"{registry.host}/me/tool", binfmt=tmp_path)
    with pytest.raises(ImageUnusable, match=r"no matching manifest .* not built for this machine's processor"):
        pull(engine, f"{registry.host}/me/list", pauses_s=(60,))
    (tmp_path / "qemu-s390x").write_text("disabled\ninterpreter /usr/bin/qemu-s390x\n")
    with pytest.raises(ImageUnusable):
        pull(engine, f"{registry.host}/me/tool", binfmt=tmp_path)
    (tmp_path / "qemu-s390x").write_text("enabled\ninterpreter /usr/bin/qemu-s390x\n")
    assert pull(engine, f"{registry.host}/me/tool", binfmt=tmp_path) is not None


@pytest.mark.parametrize("scheme", ["basic", "token"])
def test_a_credential_helper_logs_in(engine, scheme, helper):
    """Its words open a registry that is closed without them; wrong ones are told at once."""
    with ImageRegistry(login=("me", "secret"), scheme=scheme) as registry:
        digest = registry.push("me/tool", layers=(unique(),))
        reference = f"{registry.host}/me/tool"
        for command in ((), helper("wrong", me="bad")):
            with pytest.raises(ImageUnusable) as error:
                pull(engine, reference, helper=command, pauses_s=(60,))
            assert f"Log in at {registry.host}" in str(error.value)
        assert pull(engine, reference, helper=helper("right", me="secret")).endswith(digest)
        forget(engine, registry)


def test_a_helper_that_fails_is_told(engine, registry, helper):
    """Its own words say why."""
    with pytest.raises(
        ImageUnusable, match=r"No login for the training image '.*/me/tool:latest': .*refused: no vault"
    ):
        pull(engine, f"{registry.host}/me/tool", helper=helper("broken", says="no vault"))


def test_dockers_own_configuration_logs_in(engine, tmp_path, monkeypatch):
    """As `docker login` leaves it."""
    with ImageRegistry(login=("me", "secret")) as registry:
        digest = registry.push("me/tool", layers=(unique(),))
        directory = tmp_path / "docker"
        directory.mkdir()
        config = {"auths": {registry.host: {"auth": registry.basic}}}
        (directory / "config.json").write_text(json.dumps(config))
        monkeypatch.setenv("DOCKER_CONFIG", str(directory))

        assert pull(engine, f"{registry.host}/me/tool").endswith(digest)
        forget(engine, registry)


def test_an_engine_that_goes_away_during_a_pull_is_away(registry, monkeypatch):
    """The broken connection is no fault of the image."""

    def broken(*_, **__):
        raise requests.ConnectionError("the engine was killed")

    with pytest.raises(EngineAway, match="the engine was killed"), connect(ENGINE) as engine:
        monkeypatch.setattr(engine, "post", broken)
        pull(engine, f"{registry.host}/me/tool", pauses_s=(60,))

"""What is said about a pull: how far it is, what went wrong, which processors fit."""

import pytest

from clary.jobs.image_reference import parse_reference
from clary.runtimes.docker.architecture import architecture_problem
from clary.runtimes.docker.pull_progress import PullProgress
from clary.runtimes.docker.pull_trouble import cure, is_full, may_pass

AMD, ARM = ("linux", "amd64"), ("linux", "arm64")


def text(*messages):
    progress = PullProgress()
    for name, status, *detail in messages:
        current_total = dict(zip(("current", "total"), detail, strict=False))
        progress.feed({"id": name, "status": status, "progressDetail": current_total})
    return progress.text()


def test_before_any_layer_is_known():
    """The name of the tag is no layer."""
    assert text(("latest", "Pulling from me/tool")) == "Downloading the training image"


def test_layers_and_bytes_are_summed():
    """Those that are here already count as layers only."""
    messages = (
        ("a", "Already exists"),
        ("b", "Downloading", 1_000_000, 4_000_000),
        ("c", "Downloading", 2_000_000, 2_000_000),
        ("c", "Verifying Checksum"),
    )
    assert text(*messages) == "Downloading the training image: 1 of 3 layers, 3.0 MB of 6.0 MB"
    assert text(*messages, ("d", "Waiting")) == "Downloading the training image: 1 of 4 layers, 3.0 MB"
    assert text(*messages, ("c", "Download complete")).endswith(": 2 of 3 layers, 3.0 MB of 6.0 MB")


def test_unpacking_is_told_once_all_is_there():
    """The bytes of an unpacking layer are not those of its download."""
    layers = (("a", "Downloading", 5_000, 9_000), ("b", "Downloading", 1_000, 1_000), ("a", "Pull complete"))

    assert text(*layers, ("b", "Extracting", 10, 1_000)) == (
        "Downloading the training image: 2 of 2 layers, 10.0 kB of 10.0 kB, 1 unpacked"
    )


@pytest.mark.parametrize(
    ("said", "status", "passes"),
    [
        ("Get https://r/v2/: EOF", 500, True),
        ("dial tcp 10.0.0.1:443: connect: connection refused", 500, True),
        ("dial tcp: lookup r on 10.0.0.1:53: no such host", 500, True),
        ("received unexpected HTTP status: 503 Service Unavailable", 500, True),
        ("toomanyrequests: You have reached your pull rate limit", 500, True),
        ("something new", None, True),
        ("something new", 404, False),
        ("manifest unknown", 500, False),
        ("manifest for r/a:1 not found: manifest unknown: manifest unknown", 404, False),
        ("pull access denied for a/b, repository does not exist or may require 'docker login'", 404, False),
        ("unauthorized: authentication required", 500, False),
        ('Head "http://r/v2/a/manifests/1": no basic auth credentials', 500, False),
        ("no matching manifest for linux/amd64 in the manifest list entries", None, False),
        ("x509: certificate signed by unknown authority", 500, False),
        ("http: server gave HTTP response to HTTPS client", 500, False),
    ],
)
def test_what_may_pass(said, status, passes):
    """The network and the registry get another chance; a wrong name and a closed door do not."""
    assert may_pass(said, status) is passes


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("manifest unknown", "Check the spelling"),
        ("unauthorized: authentication required", "Log in at reg.example as"),
        ("pull access denied for a, repository does not exist or may require 'docker login'", "Check the spelling"),
        (
            "pull access denied for a, repository does not exist or may require 'docker login'",
            "`docker login reg.example`",
        ),
        ("x509: certificate signed by unknown authority", "trust reg.example"),
        ("no matching manifest for linux/amd64 in the manifest list entries", "not built for this machine's processor"),
        ("lookup reg.example on 10.0.0.1:53: no such host", "check the name and the engine's network"),
        ("toomanyrequests: You have reached your pull rate limit.", "reg.example limits how much is pulled"),
        ("something new", "`docker pull reg.example/a:1` shows"),
    ],
)
def test_every_trouble_has_its_cure(said, advice):
    """One that fits."""
    assert advice in cure(parse_reference("reg.example/a:1"), said, None)


def test_a_login_that_could_not_be_had_is_part_of_the_cure():
    """Else nobody would look there."""
    assert "There was no login: vault sealed. Log in" in cure(parse_reference("r.io/a"), "denied", "vault sealed")


def test_a_full_disk_is_known():
    """It is the machine's fault and not the image's."""
    assert is_full("write /var/lib/docker/tmp/x: no space left on device")
    assert not is_full("EOF")


@pytest.mark.parametrize(
    ("image", "engine", "runs"),
    [
        (AMD, AMD, True),
        (("linux", "386"), AMD, True),
        (("linux", "arm"), ARM, True),
        (("", ""), AMD, True),
        (ARM, AMD, False),
        (AMD, ARM, False),
        (("windows", "amd64"), AMD, False),
    ],
)
def test_which_processors_fit(image, engine, runs, tmp_path):
    """Without emulators."""
    assert (architecture_problem("i", image, engine, tmp_path) is None) is runs


def test_an_emulator_makes_them_fit(tmp_path):
    """By QEMU's name for the processor; for another operating system there is none."""
    (tmp_path / "qemu-aarch64").write_text("enabled\n")

    assert architecture_problem("i", ARM, AMD, tmp_path) is None
    assert architecture_problem("i", ("windows", "arm64"), AMD, tmp_path) is not None

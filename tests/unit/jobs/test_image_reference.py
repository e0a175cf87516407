"""Names of images, taken apart as Docker does."""

import pytest

from clary.jobs.image_reference import InvalidReference, ecr_region, is_image_id, parse_reference

DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    ("text", "registry", "full_repository", "short"),
    [
        ("ubuntu", "docker.io", "docker.io/library/ubuntu", "ubuntu:latest"),
        ("docker.io/ubuntu:22.04", "docker.io", "docker.io/library/ubuntu", "docker.io/ubuntu:22.04"),
        ("me/tool", "docker.io", "docker.io/me/tool", "me/tool:latest"),
        ("localhost/tool:1", "localhost", "localhost/tool", "localhost/tool:1"),
        ("127.0.0.1:5000/a/b:c", "127.0.0.1:5000", "127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b:c"),
        ("[::1]:5000/a", "[::1]:5000", "[::1]:5000/a", "[::1]:5000/a:latest"),
        (f"quay.io/a/b@{DIGEST}", "quay.io", "quay.io/a/b", f"quay.io/a/b@{DIGEST}"),
        (f"quay.io/a/b:1@{DIGEST}", "quay.io", "quay.io/a/b", f"quay.io/a/b@{DIGEST}"),
    ],
)
def test_the_parts_of_a_name(text, registry, full_repository, short):
    """A name without a host is one of Docker's hub; a digest makes the tag beside it superfluous."""
    reference = parse_reference(text)

    assert (reference.registry, reference.full_repository, str(reference)) == (registry, full_repository, short)


@pytest.mark.parametrize(
    "text", ["", "Ubuntu", "ME/tool", "a b", "reg.io/", "/a", "a:", "a@sha256:12", "reg.io/A", "a\n", "-a"]
)
def test_what_is_no_name_is_refused_and_quoted(text):
    """So that the user sees the slip of the pen."""
    with pytest.raises(InvalidReference) as refused:
        parse_reference(text)

    assert f"'{text}'" in str(refused.value)


def test_an_id_is_told_from_a_name():
    """The id of an image has a form of its own."""
    assert is_image_id(DIGEST)
    assert not is_image_id(f"a@{DIGEST}")
    assert not is_image_id("sha256:12")


@pytest.mark.parametrize(
    ("registry", "region"),
    [
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "eu-west-1"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("123456789012.dkr-ecr.eu-west-1.on.aws", "eu-west-1"),
        ("public.ecr.aws", None),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example", None),
        ("docker.io", None),
    ],
)
def test_registries_of_ecr_are_known(registry, region):
    """A token of AWS must go to nobody else."""
    assert ecr_region(registry) == region

"""Grants become policies that hold them all, and nothing more."""

import fnmatch
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.storage.session_policy import POLICY_LIMIT_BYTES, Grant, UngrantableName, pack

_NAMES = st.text(st.characters(codec="utf-8", exclude_characters="*?[$"), max_size=120)
_GRANTS = st.builds(
    Grant,
    access=st.sampled_from(["read", "write", "sync"]),
    bucket=st.sampled_from(["alpha", "beta", "sagemaker-us-east-1-000000000000"]),
    prefix=_NAMES,
)


def _read(bucket, prefix, **more):
    return Grant(access="read", bucket=bucket, prefix=prefix, **more)


def _write(bucket, prefix, **more):
    return Grant(access="write", bucket=bucket, prefix=prefix, **more)


def _matches(patterns, name):
    patterns = [patterns] if isinstance(patterns, str) else patterns
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _allows(document, action, resource, prefix=None):
    for statement in json.loads(document)["Statement"]:
        condition = statement.get("Condition", {}).get("StringLike", {}).get("s3:prefix")
        if (
            _matches(statement["Action"], action)
            and _matches(statement["Resource"], resource)
            and (condition is None or (prefix is not None and _matches(condition, prefix)))
        ):
            return True
    return False


@given(st.lists(_GRANTS, max_size=60))
def test_every_grant_is_in_exactly_one_policy_that_fits(grants):
    """No policy is too long, no grant is lost, doubled or split."""
    policies = pack(grants)
    packed = [grant for policy in policies for grant in policy.grants]
    assert sorted(map(repr, packed)) == sorted(map(repr, set(grants)))
    assert all(len(policy.document.encode()) <= POLICY_LIMIT_BYTES for policy in policies)


@given(st.lists(_GRANTS, max_size=60))
def test_no_two_policies_could_be_one_by_their_last_grant(grants):
    """A first fit never opens a policy for a grant that had room in an earlier one, so no two are less than half full."""
    sizes = [len(policy.document.encode()) for policy in pack(grants)]
    assert sum(size <= POLICY_LIMIT_BYTES // 2 for size in sizes) <= 1


@given(st.lists(_GRANTS, min_size=1, max_size=8), _NAMES)
def test_a_policy_allows_what_its_grants_say_and_nothing_else(grants, name):
    """For any key, getting, putting and listing are allowed exactly if some grant of the policy covers it."""
    for policy in pack(grants):
        for bucket in ("alpha", "beta", "gamma"):
            covered = {
                access: any(
                    grant.access == access and grant.bucket == bucket and name.startswith(grant.prefix)
                    for grant in policy.grants
                )
                for access in ("read", "write", "sync")
            }
            resource = f"arn:aws:s3:::{bucket}/{name}"
            readable = covered["read"] or covered["sync"]
            assert _allows(policy.document, "s3:GetObject", resource) == readable
            assert _allows(policy.document, "s3:PutObject", resource) == (covered["write"] or covered["sync"])
            assert _allows(policy.document, "s3:ListBucket", f"arn:aws:s3:::{bucket}", prefix=name) == readable
            uploads = _allows(policy.document, "s3:ListBucketMultipartUploads", f"arn:aws:s3:::{bucket}", prefix=name)
            assert uploads == (covered["write"] or covered["sync"])
            assert _allows(policy.document, "s3:DeleteObject", resource) == covered["sync"]


def test_typical_job_needs_one_policy():
    """Two channels, an output prefix and a checkpoint prefix share one policy."""
    bucket = "sagemaker-us-east-1-000000000000"
    grants = [
        _read(bucket, "train/"),
        _read("datasets", "imagenet/validation/"),
        _write(bucket, "output/my-job-2026-11-23/"),
        Grant(access="sync", bucket=bucket, prefix="checkpoints/"),
    ]
    (policy,) = pack(grants)
    assert policy.grants == tuple(grants)


def test_policy_of_one_read_grant():
    """The document is what an operator would expect to read."""
    (policy,) = pack([_read("b", "in/")])
    assert json.loads(policy.document) == {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "s3:GetObject", "Resource": ["arn:aws:s3:::b/in/*"]},
            {
                "Effect": "Allow",
                "Action": "s3:ListBucket",
                "Resource": "arn:aws:s3:::b",
                "Condition": {"StringLike": {"s3:prefix": ["in/*"]}},
            },
        ],
    }


def test_single_object():
    """An exact grant reaches the object and no longer name that begins like it."""
    (policy,) = pack([_read("b", "data.csv", exact=True)])
    assert _allows(policy.document, "s3:GetObject", "arn:aws:s3:::b/data.csv")
    assert not _allows(policy.document, "s3:GetObject", "arn:aws:s3:::b/data.csv.bak")


def test_whole_bucket():
    """An empty prefix grants the bucket, listed without a prefix too."""
    (policy,) = pack([_read("b", "")])
    assert _allows(policy.document, "s3:ListBucket", "arn:aws:s3:::b", prefix=None)
    assert _allows(policy.document, "s3:GetObject", "arn:aws:s3:::b/any")


def test_nothing_granted():
    """A job without grants gets no policy: an empty one would be refused, a missing one allows everything."""
    assert pack([]) == []


@pytest.mark.parametrize("prefix", ["a*/", "*", "a?c", "${aws:username}/", "x${"])
def test_names_that_mean_more_are_refused(prefix):
    """A wildcard or variable in a name would grant other objects, so the name is refused."""
    with pytest.raises(UngrantableName, match="stands for other names"):
        pack([_read("bucket", prefix)])


@pytest.mark.parametrize("bucket", ["*", "b?", "", "a/b"])
def test_buckets_that_mean_more_are_refused(bucket):
    """The same for buckets; a slash would make a key of a part of it."""
    with pytest.raises(UngrantableName):
        pack([_write(bucket, "x/")])


def test_plain_dollar_is_a_character():
    """A dollar sign alone means nothing in a policy."""
    (policy,) = pack([_read("b", "cost$/")])
    assert "cost$/*" in policy.document


def test_too_long_a_name_is_refused():
    """A grant is never split or shortened."""
    with pytest.raises(UngrantableName, match="too long"):
        pack([_read("b", "é" * 500)])
    with pytest.raises(UngrantableName, match="no empty key"):
        pack([_read("b", "", exact=True)])

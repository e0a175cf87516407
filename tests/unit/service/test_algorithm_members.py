"""The table of CreateAlgorithm's members against the API model, and the refusals that it causes."""

import botocore.session
import pytest

from clary.aws.errors import ValidationException
from clary.service.algorithm_members import ALGORITHM_MEMBERS, REFUSED_ALGORITHM_MEMBERS
from clary.service.members import refuse_unsupported


def leaves(shape, path=()):
    """Every leaf member of the request, without the brackets of lists."""
    for name, member in shape.members.items():
        inner = member
        while inner.type_name == "list":
            inner = inner.member
        if inner.type_name == "structure":
            yield from leaves(inner, (*path, name))
        else:
            yield ".".join((*path, name))


def create_algorithm():
    return list(leaves(botocore.session.Session().get_service_model("sagemaker").shape_for("CreateAlgorithmInput")))


def covers(row, leaf):
    plain = row.path.replace("[]", "")
    return leaf == plain or leaf.startswith(plain + ".")


def test_every_member_of_the_model_is_covered_by_one_row():
    """None is forgotten, and none is spoken for twice."""
    covered = {leaf: [row.path for row in ALGORITHM_MEMBERS if covers(row, leaf)] for leaf in create_algorithm()}

    assert {leaf: rows for leaf, rows in covered.items() if len(rows) != 1} == {}


def test_every_row_names_a_member_of_the_model_and_says_why():
    known = create_algorithm()

    assert [row.path for row in ALGORITHM_MEMBERS if not any(covers(row, leaf) for leaf in known)] == []
    assert all(row.why for row in ALGORITHM_MEMBERS)


@pytest.mark.parametrize(
    ("params", "where"),
    [
        ({"ValidationSpecification": {"ValidationRole": "r"}}, "validationSpecification"),
        (
            {"TrainingSpecification": {"AdditionalS3DataSource": {"S3Uri": "s3://b/k"}}},
            "trainingSpecification.additionalS3DataSource",
        ),
    ],
)
def test_a_member_that_would_be_ignored_is_refused_by_name(params, where):
    with pytest.raises(ValidationException) as refused:
        refuse_unsupported(params, REFUSED_ALGORITHM_MEMBERS)

    assert refused.value.message.startswith(f"'{where}' is not supported: ")


def test_what_is_refused_of_a_training_job_is_not_refused_of_an_algorithm():
    refuse_unsupported({"Tags": [], "VpcConfig": {"Subnets": ["s"]}}, REFUSED_ALGORITHM_MEMBERS)

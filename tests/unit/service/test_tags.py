"""AddTags, ListTags, DeleteTags over training jobs."""

import asyncio

import pytest

from clary.aws.errors import AwsError
from clary.jobs import transitions
from clary.store.faulty import Fault, FaultyStore
from clary.store.memory import MemoryStore
from clary.store.port import StaleVersion
from factories import arn, make_job
from sagemaker_api import USER_ARN, SageMaker, create_request, refusal

NOT_FOUND = ("ValidationException", "Requested resource not found.")


def tags(**pairs):
    return [{"Key": key, "Value": value} for key, value in pairs.items()]


@pytest.fixture
def sagemaker():
    sagemaker = SageMaker()
    sagemaker("CreateTrainingJob", **create_request("Job", Tags=tags(a="1")))
    return sagemaker


def listed(sagemaker, name="Job"):
    return sagemaker("ListTags", ResourceArn=arn(name))["Tags"]


def test_tags_of_the_request_are_listed_and_not_described(sagemaker):
    assert listed(sagemaker) == tags(a="1")
    assert "Tags" not in sagemaker("DescribeTrainingJob", TrainingJobName="Job")


def test_a_job_without_tags_has_an_empty_list(sagemaker):
    sagemaker("CreateTrainingJob", **create_request("plain"))

    assert sagemaker("ListTags", ResourceArn=arn("plain")) == {"Tags": []}


def test_added_tags_overwrite_by_key_and_all_are_answered(sagemaker):
    """As in the recorded answers: the old ones first, a key in the place that it had."""
    answer = sagemaker("AddTags", ResourceArn=arn("Job"), Tags=tags(b="2", c="", a="one"))

    assert answer == {"Tags": tags(a="one", b="2", c="")}
    assert listed(sagemaker) == tags(a="one", b="2", c="")


def test_adding_nothing_answers_what_is_there(sagemaker):
    assert sagemaker("AddTags", ResourceArn=arn("Job"), Tags=[]) == {"Tags": tags(a="1")}


def test_deleted_keys_are_gone_and_unknown_ones_passed_over(sagemaker):
    sagemaker("AddTags", ResourceArn=arn("Job"), Tags=tags(b="2", c="3"))

    assert sagemaker("DeleteTags", ResourceArn=arn("Job"), TagKeys=["a", "c", "nowhere", "B"]) == {}
    assert listed(sagemaker) == tags(b="2")


def test_keys_differ_in_letter_case(sagemaker):
    assert sagemaker("AddTags", ResourceArn=arn("Job"), Tags=tags(A="2"))["Tags"] == tags(a="1", A="2")


def test_a_resource_has_fifty_tags_at_most(sagemaker):
    """Overwriting one is possible at the limit; one more is refused, and nothing is written."""
    sagemaker("AddTags", ResourceArn=arn("Job"), Tags=tags(**{f"k{n}": "" for n in range(49)}))
    assert len(listed(sagemaker)) == 50
    sagemaker("AddTags", ResourceArn=arn("Job"), Tags=tags(k7="other"))

    code, message = refusal(sagemaker, "AddTags", ResourceArn=arn("Job"), Tags=tags(k8="lost", more="", most=""))

    assert code == "ValidationException"
    assert message == "Tag limit exceeded: a resource can have at most 50 tags, and this one would have 52."
    assert {tag["Key"]: tag["Value"] for tag in listed(sagemaker)}["k8"] == ""


def test_fifty_tags_stand_on_one_page(sagemaker):
    """The smallest page that can be asked for holds all that a resource can have."""
    sagemaker("AddTags", ResourceArn=arn("Job"), Tags=tags(**{f"k{n}": "" for n in range(49)}))

    page = sagemaker("ListTags", ResourceArn=arn("Job"), MaxResults=50)

    assert len(page["Tags"]) == 50
    assert "NextToken" not in page


def test_a_token_that_was_never_issued_is_refused(sagemaker):
    code, message = refusal(sagemaker, "ListTags", ResourceArn=arn("Job"), NextToken="MQ==")

    assert (code, message) == ("ValidationException", "The NextToken is not valid for this request.")


@pytest.mark.parametrize(
    ("operation", "params", "text"),
    [
        ("ListTags", {"MaxResults": 49}, "'49' at 'maxResults' failed to satisfy constraint: Member must have value"),
        ("DeleteTags", {"TagKeys": []}, "at 'tagKeys' failed to satisfy constraint: Member must have length greater"),
        ("DeleteTags", {"TagKeys": ["k"] * 51}, "Member must have length less than or equal to 50"),
        ("AddTags", {"Tags": tags(k="") * 51}, "at 'tags' failed to satisfy constraint: Member must have length less"),
        ("AddTags", {"Tags": [{"Key": "k"}]}, "Value null at 'tags.1.member.value'"),
        ("AddTags", {"Tags": [{"Key": "", "Value": ""}]}, "'tags.1.member.key'"),
        ("AddTags", {"Tags": [{"Key": "k" * 129, "Value": ""}]}, "Member must have length less than or equal to 128"),
        ("AddTags", {"Tags": [{"Key": "k", "Value": "v" * 257}]}, "Member must have length less than or equal to 256"),
        ("AddTags", {"Tags": [{"Key": "k*", "Value": ""}]}, "Member must satisfy regular expression pattern: ([\\p{L}"),
        ("AddTags", {"Tags": [{"Key": "k", "Value": "v\n"}]}, "'tags.1.member.value'"),
        ("AddTags", {"Tags": tags(k="1") + tags(k="2")}, "Tag keys must be unique per resource"),
        ("AddTags", {"Tags": [{"Key": "AWS:createdBy", "Value": ""}]}, "reserved prefix aws:"),
    ],
)
def test_what_the_model_forbids_is_refused(sagemaker, operation, params, text):
    code, message = refusal(sagemaker, operation, ResourceArn=arn("Job"), **params)

    assert code == "ValidationException"
    assert text in message
    assert listed(sagemaker) == tags(a="1")


def test_letters_of_all_alphabets_are_good_in_keys_and_values(sagemaker):
    answer = sagemaker("AddTags", ResourceArn=arn("Job"), Tags=[{"Key": "Größe 模型_.:/=+-@", "Value": "Ünïcode ٣"}])

    assert answer["Tags"][1:] == [{"Key": "Größe 模型_.:/=+-@", "Value": "Ünïcode ٣"}]


@pytest.mark.parametrize("pairs", [tags(k="1") + tags(k="2"), [{"Key": "aws:x", "Value": ""}]])
def test_tags_of_a_new_job_obey_the_same_rules(sagemaker, pairs):
    code, message = refusal(sagemaker, "CreateTrainingJob", **create_request("other", Tags=pairs))

    assert code == "ValidationException"
    assert "Tag keys must" in message


# --- the ARN

OPERATIONS = [("AddTags", {"Tags": tags(k="v")}), ("ListTags", {}), ("DeleteTags", {"TagKeys": ["a"]})]


@pytest.mark.parametrize(("operation", "params"), OPERATIONS)
@pytest.mark.parametrize("name", ["job", "Job", "JOB"])
def test_letter_case_of_the_name_says_nothing_in_an_arn(sagemaker, operation, params, name):
    """Describe's ARN has it in lower case; a caller may have made one of the name as it is spelt."""
    resource = arn("Job").replace("training-job/job", f"training-job/{name}")

    sagemaker(operation, ResourceArn=resource, **params)


@pytest.mark.parametrize(("operation", "params"), OPERATIONS)
@pytest.mark.parametrize(
    ("resource", "code", "text"),
    [
        ("arn:aws:sagemaker:us-east-1:000000000000:training-job/nope", *NOT_FOUND),
        ("arn:aws:sagemaker:us-east-1:000000000000:training-job/", *NOT_FOUND),
        ("arn:aws:sagemaker:us-east-1:000000000000:training-job", *NOT_FOUND),
        ("arn:aws:sagemaker:us-east-1:000000000000:training-job/job/job", *NOT_FOUND),
        ("arn:aws:sagemaker:eu-west-1:000000000000:training-job/job", "ValidationException", "region us-east-1"),
        ("arn:aws-cn:sagemaker:us-east-1:000000000000:training-job/job", "ValidationException", "region us-east-1"),
        ("arn:aws:sagemaker:us-east-1:000000000000:endpoint/job", "ValidationException", "of the type 'endpoint'"),
        ("arn:aws:sagemaker:us-east-1:000000000000:Training-Job/job", "ValidationException", "type 'Training-Job'"),
        ("arn:aws:s3:::bucket", "ValidationException", "regular expression pattern: arn:aws[a-z-]*:sagemaker:"),
        ("", "ValidationException", "'resourceArn' failed to satisfy constraint"),
        (
            "arn:aws:sagemaker:us-east-1:111111111111:training-job/job",
            "AccessDeniedException",
            f"User: {USER_ARN} is not authorized to perform: sagemaker:",
        ),
    ],
)
def test_an_arn_that_names_nothing_here_is_refused(sagemaker, operation, params, resource, code, text):
    seen_code, message = refusal(sagemaker, operation, ResourceArn=resource, **params)

    assert (seen_code, text in message) == (code, True), message
    assert listed(sagemaker) == tags(a="1")


# --- beside the controller


def test_tags_change_nothing_else_of_a_job(sagemaker):
    before = sagemaker("DescribeTrainingJob", TrainingJobName="Job")
    sagemaker.clock.advance(60)

    sagemaker("AddTags", ResourceArn=arn("Job"), Tags=tags(k="v"))

    assert sagemaker("DescribeTrainingJob", TrainingJobName="Job") == before
    assert sagemaker.woken == []


def test_an_ended_job_can_be_tagged(sagemaker):
    sagemaker.keep(make_job("done", status="Completed", released=True))

    assert sagemaker("AddTags", ResourceArn=arn("done"), Tags=tags(k="v"))["Tags"] == tags(k="v")


def test_neither_tags_nor_a_status_are_lost_when_both_are_written_at_once():
    """The write that comes second is made again on what the first left."""
    store = MemoryStore()
    sagemaker = SageMaker(store=store)
    sagemaker.keep(make_job("job"))

    async def race():
        async def controller():
            for n in range(50):
                while True:
                    try:
                        job = await store.get("job")
                        await asyncio.sleep(0)  # others write in between
                        await store.commit(transitions.say(job, f"message {n}"))
                    except StaleVersion:
                        continue
                    break

        async def caller(n):
            await sagemaker.call("AddTags", ResourceArn=arn("job"), Tags=tags(**{f"k{n}": str(n)}))
            await asyncio.sleep(0)

        await asyncio.gather(controller(), *(caller(n) for n in range(20)))

    asyncio.run(race())

    job = asyncio.run(store.get("job"))
    assert {tag.key for tag in job.tags} == {f"k{n}" for n in range(20)}
    assert job.secondary_status_transitions[-1].status_message == "message 49"


def test_a_write_that_was_refused_as_stale_is_made_again():
    inner = MemoryStore()
    store = FaultyStore(inner, [Fault(verb="commit", error=StaleVersion("job"), times=3)])
    sagemaker = SageMaker(store=store)
    asyncio.run(inner.create(make_job("job")))

    assert sagemaker("AddTags", ResourceArn=arn("job"), Tags=tags(k="v"))["Tags"] == tags(k="v")
    assert [verb for verb, _ in store.calls].count("commit") == 4


def test_tags_go_with_their_job(sagemaker):
    """A later job of the name has none of them."""
    sagemaker.keep(make_job("done", status="Completed", released=True))
    sagemaker("AddTags", ResourceArn=arn("done"), Tags=tags(k="v"))
    sagemaker("DeleteTrainingJob", TrainingJobName="done")

    with pytest.raises(AwsError, match="Requested resource not found"):
        listed(sagemaker, "done")
    sagemaker("CreateTrainingJob", **create_request("done"))
    assert listed(sagemaker, "done") == []

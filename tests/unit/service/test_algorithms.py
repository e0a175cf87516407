"""The operations on algorithms and on their tags, over a store in memory. botocore judges the answers."""

import asyncio

import botocore.session
import msgspec
import pytest
from botocore.parsers import create_parser

from clary.aws.errors import ValidationException
from clary.aws.handlers import RequestContext
from clary.aws.paging import PageTokens
from clary.aws.sigv4 import Credential
from clary.base.clock import FixedClock
from clary.jobs.model import Tag
from clary.service.algorithm_tags import TaggedAlgorithms
from clary.service.algorithms import Algorithms
from clary.service.images import ImageCatalogue, load_catalogue
from clary.service.tags import NoSuchResource, Tags
from clary.store.memory_algorithms import MemoryAlgorithmStore
from factories import ACCOUNT_ID, NOW, REGION

ARN = f"arn:aws:sagemaker:{REGION}:{ACCOUNT_ID}:algorithm/"
CONTEXT = RequestContext(
    request_id="r",
    account_id=ACCOUNT_ID,
    region=REGION,
    caller=Credential(
        access_key_id="a",
        secret_access_key="s",
        account_id=ACCOUNT_ID,
        principal_arn=f"arn:aws:iam::{ACCOUNT_ID}:user/u",
        user_id="U",
    ),
)


class Service:
    """The operations, called as the gateway calls them, with answers read as a client reads them."""

    def __init__(self, store):
        self.store = store
        self.clock = FixedClock(NOW)
        images = ImageCatalogue(load_catalogue(None), python_paths=lambda prefix: (str(prefix),))
        tokens = PageTokens(b"k")
        algorithms = Algorithms(store=self.store, images=images, tokens=tokens, clock=self.clock)
        tags = Tags({"algorithm": TaggedAlgorithms(self.store)}, tokens=tokens)
        self.handlers = {**algorithms.handlers(), **tags.handlers()}
        self.model = botocore.session.Session().get_service_model("sagemaker")

    def __call__(self, operation, **params):
        answer = asyncio.run(self.handlers[operation](CONTEXT, params))
        shape = self.model.operation_model(operation).output_shape
        if shape is None:
            assert answer is None
            return None
        assert not set(shape.required_members) - answer.keys()
        response = {"body": msgspec.json.encode(answer), "headers": {}, "status_code": 200}
        parsed = create_parser("json").parse(response, shape)
        del parsed["ResponseMetadata"]
        return parsed

    def refusal(self, operation, **params):
        with pytest.raises(ValidationException) as refused:
            self(operation, **params)
        return refused.value.message

    def names(self, **params):
        """The names on all pages, and how many pages there were."""
        names, pages = [], 0
        while True:
            page = self("ListAlgorithms", **params)
            names += [summary["AlgorithmName"] for summary in page["AlgorithmSummaryList"]]
            pages += 1
            if "NextToken" not in page:
                return names, pages
            params["NextToken"] = page["NextToken"]


@pytest.fixture
def service():
    return Service(MemoryAlgorithmStore())


def request(name="My-Algorithm", **changes):
    return {
        "AlgorithmName": name,
        "TrainingSpecification": {
            "TrainingImage": "clary/python",
            "SupportedTrainingInstanceTypes": ["ml.m5.large"],
            "TrainingChannels": [
                {"Name": "train", "SupportedContentTypes": [], "SupportedInputModes": ["File"], "IsRequired": False}
            ],
        },
    } | changes


def test_describe_shows_the_request_and_an_algorithm_that_is_completed_at_once(service):
    given = request(
        AlgorithmDescription="words",
        InferenceSpecification={"Containers": [{"Image": "i"}]},
        CertifyForMarketplace=False,
    )
    created = service("CreateAlgorithm", **given, Tags=[{"Key": "k", "Value": "v"}])

    assert created == {"AlgorithmArn": ARN + "my-algorithm"}
    described = service("DescribeAlgorithm", AlgorithmName="My-Algorithm")
    assert described.pop("CreationTime").timestamp() * 1000 == NOW
    assert described == given | {
        "AlgorithmArn": ARN + "my-algorithm",
        "AlgorithmStatus": "Completed",
        "AlgorithmStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
    }


@pytest.mark.parametrize("arn", [ARN + "my-algorithm", ARN + "My-Algorithm"])
def test_an_arn_names_the_algorithm_too(service, arn):
    service("CreateAlgorithm", **request())

    assert service("DescribeAlgorithm", AlgorithmName=arn)["AlgorithmName"] == "My-Algorithm"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("other", ARN + "other"),
        ("my-algorithm", ARN + "my-algorithm"),  # spelt otherwise
        (ARN + "other", ARN + "other"),
        (ARN.replace("algorithm/", "training-job/") + "my-algorithm", None),
        (ARN.replace(REGION, "eu-west-1") + "my-algorithm", None),
        (ARN.replace(ACCOUNT_ID, "1" * 12) + "my-algorithm", None),
        (ARN.replace("arn:aws:", "arn:aws-cn:") + "my-algorithm", None),
    ],
)
def test_an_algorithm_that_is_not_there_is_refused_in_the_observed_words(service, name, shown):
    service("CreateAlgorithm", **request())

    assert service.refusal("DescribeAlgorithm", AlgorithmName=name) == f"Algorithm {shown or name} does not exist."


def test_a_name_is_taken_whatever_its_letter_case(service):
    service("CreateAlgorithm", **request())

    message = service.refusal("CreateAlgorithm", **request("MY-ALGORITHM"))

    assert message == f"Algorithm already exists: {ARN}my-algorithm"


def test_a_deleted_algorithm_is_gone_and_its_name_is_free(service):
    service("CreateAlgorithm", **request())
    service("DeleteAlgorithm", AlgorithmName="My-Algorithm")

    gone = f"Algorithm {ARN}my-algorithm does not exist."
    assert service.refusal("DescribeAlgorithm", AlgorithmName="My-Algorithm") == gone
    assert service.refusal("DeleteAlgorithm", AlgorithmName="My-Algorithm") == gone
    service("CreateAlgorithm", **request("my-Algorithm"))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"ValidationSpecification": {"ValidationRole": "r", "ValidationProfiles": []}}, "'validationSpecification'"),
        ({"TrainingImage": "nobody/knows"}, "Invalid training image."),
        ({"TrainingImageDigest": "sha256:" + "0" * 64}, f"'clary/python@sha256:{'0' * 64}'"),
        ({"SupportedTrainingInstanceTypes": []}, "Invalid TrainingSpecification: "),
        (
            {"TrainingChannels": [{"Name": "a", "SupportedContentTypes": [], "SupportedInputModes": ["FastFile"]}]},
            "Member must satisfy enum value set: [Pipe, File]",
        ),
    ],
)
def test_what_cannot_be_trained_with_is_not_created(service, changes, text):
    given = request()
    target = given if "ValidationSpecification" in changes else given["TrainingSpecification"]
    target |= changes

    assert text in service.refusal("CreateAlgorithm", **given)
    assert service.names() == ([], 1)


def test_lists_are_sorted_filtered_and_paged(service):
    for name in ("b", "a", "C", "d"):
        service("CreateAlgorithm", **request(name))
        service.clock.advance(1)

    assert service.names() == (["b", "a", "C", "d"], 1)
    assert service.names(MaxResults=2, SortOrder="Descending") == (["d", "C", "a", "b"], 2)
    assert service.names(MaxResults=1, SortBy="Name") == (["C", "a", "b", "d"], 4)
    assert service.names(NameContains="d") == (["d"], 1)
    assert service.names(CreationTimeAfter=NOW / 1000, CreationTimeBefore=NOW / 1000 + 3) == (["a", "C"], 1)
    assert service.names(NameContains="zzz") == ([], 1)


def test_a_page_holds_ten_unless_told_otherwise(service):
    for n in range(11):
        service("CreateAlgorithm", **request(f"a{n}"))

    assert service.names() == ([f"a{n}" for n in (0, 1, 10, 2, 3, 4, 5, 6, 7, 8, 9)], 2)


def test_a_token_belongs_to_its_query(service):
    for name in ("a", "b"):
        service("CreateAlgorithm", **request(name))
    token = service("ListAlgorithms", MaxResults=1)["NextToken"]

    for changes in ({"SortOrder": "Descending"}, {"SortBy": "Name"}, {"NextToken": token[:-1]}):
        assert "NextToken" in service.refusal("ListAlgorithms", **{"NextToken": token} | changes)


def test_a_summary_has_the_description_if_there_is_one(service):
    service("CreateAlgorithm", **request("a", AlgorithmDescription="words"))
    service("CreateAlgorithm", **request("b"))

    described, plain = service("ListAlgorithms")["AlgorithmSummaryList"]
    assert described["AlgorithmDescription"] == "words"
    assert plain.keys() == {"AlgorithmName", "AlgorithmArn", "CreationTime", "AlgorithmStatus"}


def test_tags_are_kept_shown_and_changed(service):
    service("CreateAlgorithm", **request(), Tags=[{"Key": "a", "Value": "1"}])
    arn = ARN + "my-algorithm"

    added = service("AddTags", ResourceArn=arn, Tags=[{"Key": "a", "Value": "2"}, {"Key": "b", "Value": ""}])
    assert added == {"Tags": [{"Key": "a", "Value": "2"}, {"Key": "b", "Value": ""}]}
    service("DeleteTags", ResourceArn=arn, TagKeys=["a"])
    assert service("ListTags", ResourceArn=arn) == {"Tags": [{"Key": "b", "Value": ""}]}


class SlowStore(MemoryAlgorithmStore):
    """Lets others in between a read and the write that follows it."""

    async def get(self, algorithm_name):
        algorithm = await super().get(algorithm_name)
        await asyncio.sleep(0)  # everybody reads before anybody writes
        return algorithm


def test_many_who_tag_at_once_all_succeed():
    service = Service(SlowStore())
    service("CreateAlgorithm", **request())
    holder = TaggedAlgorithms(service.store)

    async def tag_together():
        changes = [lambda tags, n=n: (*tags, msgspec.convert({"Key": str(n), "Value": ""}, Tag)) for n in range(10)]
        await asyncio.gather(*(holder.change_tags("my-algorithm", change) for change in changes))
        return await holder.tags("my-algorithm")

    assert sorted(tag.key for tag in asyncio.run(tag_together())) == [str(n) for n in range(10)]


def test_an_algorithm_that_is_not_there_has_no_tags(service):
    holder = TaggedAlgorithms(service.store)

    for attempt in (holder.tags("a"), holder.change_tags("a", lambda tags: tags)):
        with pytest.raises(NoSuchResource):
            asyncio.run(attempt)

"""FilterLogEvents and DescribeLogGroups over a log store: order, bounds, tokens."""

import asyncio
from dataclasses import dataclass

import pytest

from clary.aws.errors import AwsError, ResourceNotFoundException
from clary.aws.handlers import RequestContext
from clary.aws.paging import PageTokens
from clary.aws.sigv4 import Credential
from clary.base.clock import FixedClock, Instant
from clary.logs.files import FileLogStore
from clary.logs.memory import MemoryLogStore
from clary.service import log_filter
from clary.service.log_streams import LogStreams

GROUP = "/aws/sagemaker/TrainingJobs"
CLOCK = FixedClock(Instant(1_800_000_000_000))
CONTEXT = RequestContext(
    request_id="r",
    account_id="000000000000",
    region="us-east-1",
    caller=Credential(
        access_key_id="AKIA", secret_access_key="s", account_id="000000000000", principal_arn="a", user_id="u"
    ),
)


@dataclass
class Logs:
    store: object
    tokens: PageTokens

    def write(self, stream, *events, group=GROUP):
        """Events are pairs of a time and a message."""
        writer = self.store.writer(group, stream)
        for time, message in events:
            writer.append([message.encode()], timestamp=Instant(time), source_offset=0)
        writer.close()

    def ask(self, operation="FilterLogEvents", **params):
        handlers = LogStreams(self.store, self.tokens).handlers()
        if operation == "FilterLogEvents" and "logGroupIdentifier" not in params:
            params = {"logGroupName": GROUP} | params
        return asyncio.run(handlers[operation](CONTEXT, params))

    def every(self, **params):
        """The messages of all pages, and how many pages there were."""
        messages, pages, token = [], 0, {}
        while True:
            page = self.ask(**params, **token)
            messages += [event["message"] for event in page["events"]]
            pages += 1
            if "nextToken" not in page:
                return messages, pages
            token = {"nextToken": page["nextToken"]}


@pytest.fixture(params=["memory", "files"])
def logs(request, tmp_path):
    store = MemoryLogStore(CLOCK) if request.param == "memory" else FileLogStore(tmp_path, CLOCK)
    return Logs(store, PageTokens(b"key"))


@pytest.fixture
def two_hosts(logs):
    logs.write("job/algo-1-1", (10, "a loss=1"), (20, "a ready"), (30, "a loss=2"))
    logs.write("job/algo-2-1", (15, "b loss=1"), (20, "b ready"), (40, "b loss=2"))
    logs.write("other/algo-1-1", (25, "c loss=9"))
    return logs


def test_events_of_several_streams_come_in_order_of_time(two_hosts):
    """Equal times in order of the stream's name; nothing of streams outside the prefix."""
    page = two_hosts.ask(logStreamNamePrefix="job/")
    assert [event["message"] for event in page["events"]] == [
        "a loss=1", "b loss=1", "a ready", "b ready", "a loss=2", "b loss=2",
    ]  # fmt: skip
    assert page["searchedLogStreams"] == []
    assert "nextToken" not in page
    event = page["events"][1]
    assert event["logStreamName"] == "job/algo-2-1"
    assert event["timestamp"] == 15
    assert event["ingestionTime"] == CLOCK.now()


def test_newest_first_is_the_same_backwards():
    """With startFromHead false, which AWS allows for times since 2024; the token keeps the direction."""
    logs = Logs(MemoryLogStore(CLOCK), PageTokens(b"key"))
    late = 1_800_000_000_000
    logs.write("a", (late, "1"), (late + 5, "4"))
    logs.write("b", (late, "2"), (late + 5, "5"))
    logs.write("c", (late + 1, "3"))
    params = {"startTime": late, "limit": 1}
    assert logs.every(**params) == (["1", "2", "3", "4", "5"], 6)
    first = logs.ask(**params, startFromHead=False)
    assert [event["message"] for event in first["events"]] == ["5"]
    messages, token = [], first["nextToken"]
    while token:
        page = logs.ask(**params, startFromHead=True, nextToken=token)
        messages += [event["message"] for event in page["events"]]
        token = page.get("nextToken")
    assert messages == ["4", "3", "2", "1"]
    with pytest.raises(AwsError, match="Jan 1, 2024"):
        logs.ask(startFromHead=False)


def test_both_ends_of_the_time_range_are_in_it(two_hosts):
    """startTime <= time <= endTime, unlike GetLogEvents. Source: API model."""
    assert two_hosts.every(startTime=20, endTime=25)[0] == ["a ready", "b ready", "c loss=9"]


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pages_of_any_size_give_every_event_once(two_hosts, limit):
    """And a filter changes nothing in that."""
    assert two_hosts.every(limit=limit)[0] == [
        "a loss=1", "b loss=1", "a ready", "b ready", "c loss=9", "a loss=2", "b loss=2",
    ]  # fmt: skip
    assert two_hosts.every(limit=limit, filterPattern='"loss=" -c')[0] == [
        "a loss=1", "b loss=1", "a loss=2", "b loss=2",
    ]  # fmt: skip


def test_named_streams_alone_are_read(two_hosts):
    """A name that there is not is an error, as is a name beside a prefix."""
    assert two_hosts.every(logStreamNames=["other/algo-1-1", "job/algo-1-1"], limit=2)[0] == [
        "a loss=1", "a ready", "c loss=9", "a loss=2",
    ]  # fmt: skip
    with pytest.raises(ResourceNotFoundException, match="log stream does not exist"):
        two_hosts.ask(logStreamNames=["job/algo-1-1", "nothing"])
    with pytest.raises(AwsError, match="logStreamNames and logStreamNamePrefix"):
        two_hosts.ask(logStreamNames=["job/algo-1-1"], logStreamNamePrefix="job/")


def test_the_id_of_an_event_is_its_own_and_stays(two_hosts):
    """`aws logs tail` drops what it has seen by that id."""
    before = [event["eventId"] for event in two_hosts.ask()["events"]]
    two_hosts.write("a/algo-1-1", (5, "earlier"))
    after = [event["eventId"] for event in two_hosts.ask(startTime=10)["events"]]
    assert before == after
    assert len(set(before)) == len(before)


def test_a_call_does_a_bounded_piece_of_work(logs, monkeypatch):
    """Few streams at a time, few looked at, few events seen: nothing is lost, nothing comes twice."""
    monkeypatch.setattr(log_filter, "STREAMS_MERGED", 3)
    monkeypatch.setattr(log_filter, "STREAMS_SEEN", 5)
    monkeypatch.setattr(log_filter, "EVENTS_SEEN", 4)
    monkeypatch.setattr(log_filter, "_STREAMS_LISTED", 2)
    for number in range(20):
        logs.write(f"s{number:02}", *((10 * time, f"{number:02}-{time}") for time in range(5)))
    everything, pages = logs.every()
    assert sorted(everything) == sorted(f"{number:02}-{time}" for number in range(20) for time in range(5))
    assert pages >= 25
    late, pages = logs.every(startTime=40)
    assert sorted(late) == sorted(f"{number:02}-4" for number in range(20))
    none, pages = logs.every(startTime=1000)
    assert none == []
    assert pages == 4


def test_streams_that_appear_between_pages_bring_nothing_twice(logs, monkeypatch):
    """A piece of streams that has been begun is not cut anew."""
    monkeypatch.setattr(log_filter, "STREAMS_MERGED", 2)
    logs.write("b", (10, "b1"), (20, "b2"))
    logs.write("d", (10, "d1"), (20, "d2"))
    logs.write("e", (10, "e1"))
    first = logs.ask(limit=3)
    logs.write("a", (30, "a3"))
    logs.write("c", (30, "c3"))
    seen, token = [event["message"] for event in first["events"]], first["nextToken"]
    while token:
        page = logs.ask(limit=3, nextToken=token)
        seen += [event["message"] for event in page["events"]]
        token = page.get("nextToken")
    assert len(seen) == len(set(seen))
    assert {"b1", "b2", "d1", "d2", "e1"} <= set(seen)


def test_a_page_holds_a_mebibyte(logs):
    """Longer ones are cut where the next event would not fit."""
    logs.write("big", *((time, f"{time}" + "x" * 400_000) for time in range(5)))
    messages, pages = logs.every()
    assert [message[0] for message in messages] == ["0", "1", "2", "3", "4"]
    assert pages == 3


def test_a_token_belongs_to_its_question(two_hosts):
    """Another pattern, or a byte changed, and it is refused."""
    token = two_hosts.ask(limit=1)["nextToken"]
    for params in ({"filterPattern": "x"}, {"startTime": 1}, {"logStreamNamePrefix": "job/"}):
        with pytest.raises(AwsError, match="The specified nextToken is invalid") as refused:
            two_hosts.ask(limit=1, nextToken=token, **params)
        assert refused.value.code == "InvalidParameterException"
    with pytest.raises(AwsError, match="The specified nextToken is invalid"):
        two_hosts.ask(nextToken="A" + token)
    assert two_hosts.ask(limit=5, nextToken=token)["events"][0]["message"] == "b loss=1"


def test_a_pattern_that_is_none_is_refused_in_awss_words(two_hosts):
    with pytest.raises(AwsError, match=r"Invalid filter pattern: Invalid character\(s\) in term '='") as refused:
        two_hosts.ask(filterPattern="loss=1")
    assert refused.value.code == "InvalidParameterException"


def test_a_group_that_is_not_there(logs):
    with pytest.raises(ResourceNotFoundException, match="The specified log group does not exist"):
        logs.ask(logGroupName="/no/such/group")
    with pytest.raises(AwsError, match="Exactly one of"):
        logs.ask(logGroupName=GROUP, logGroupIdentifier=GROUP)


def test_the_group_may_be_named_by_its_arn(two_hosts):
    arn = f"arn:aws:logs:us-east-1:000000000000:log-group:{GROUP}:*"
    assert len(two_hosts.ask(logGroupIdentifier=arn)["events"]) == 7


def test_groups_are_listed_by_name_a_page_at_a_time(logs):
    """With what each filter of the operation leaves."""
    for group in ("/aws/b", "/aws/a", "/aws/c", "/own"):
        logs.write("s", (1, "x"), group=group)

    def names(**params):
        found, token = [], {}
        while True:
            page = logs.ask("DescribeLogGroups", **params, **token)
            found += [group["logGroupName"] for group in page["logGroups"]]
            if "nextToken" not in page:
                return found
            token = {"nextToken": page["nextToken"]}

    assert names() == ["/aws/a", "/aws/b", "/aws/c", "/own"]
    assert names(limit=1) == names(limit=3) == names(limit=4) == names()
    assert names(logGroupNamePrefix="/aws/", limit=2) == ["/aws/a", "/aws/b", "/aws/c"]
    assert names(logGroupNamePattern="w") == ["/aws/a", "/aws/b", "/aws/c", "/own"]
    assert names(logGroupNamePattern="s/b", limit=1) == ["/aws/b"]
    assert names(logGroupIdentifiers=["/own", "arn:aws:logs:us-east-1:000000000000:log-group:/aws/c"]) == [
        "/aws/c", "/own",
    ]  # fmt: skip
    assert names(logGroupClass="INFREQUENT_ACCESS") == []
    assert logs.ask("DescribeLogGroups", logGroupNamePrefix="/own")["logGroups"] == [
        {
            "logGroupName": "/own",
            "creationTime": CLOCK.now(),
            "arn": "arn:aws:logs:us-east-1:000000000000:log-group:/own:*",
            "logGroupArn": "arn:aws:logs:us-east-1:000000000000:log-group:/own",
            "metricFilterCount": 0,
            "logGroupClass": "STANDARD",
        }
    ]
    assert set(logs.ask("DescribeLogGroups", logGroupNamePattern="own")["logGroups"][0]) == {
        "logGroupName", "creationTime", "arn",
    }  # fmt: skip
    for params in (
        {"logGroupNamePrefix": "a", "logGroupNamePattern": "b"},
        {"includeLinkedAccounts": True},
        {"nextToken": "?"},
    ):
        with pytest.raises(AwsError) as refused:
            logs.ask("DescribeLogGroups", **params)
        assert refused.value.code == "InvalidParameterException"

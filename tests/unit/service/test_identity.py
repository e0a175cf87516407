"""STS and IAM: sessions and what they prove, AssumeRole's rules, roles that all exist."""

import asyncio
import json
from urllib.parse import unquote

import pytest
from msgspec.structs import replace

from clary.aws.canonical import Request
from clary.aws.errors import AwsError
from clary.aws.handlers import RequestContext
from clary.aws.refusals import Cause, Refused
from clary.aws.sigv4 import Credential, SigningKeys, sign, verify
from clary.base.clock import FixedClock, Instant, later
from clary.service.identity import Identity
from clary.service.roles import Roles, parse_role_arn
from clary.service.sessions import Sessions

NOW = Instant(1_800_000_000_000)
ACCOUNT = "000000000000"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/service-role/Trainer"
USER = Credential(
    access_key_id="AKIAEXAMPLE",
    secret_access_key="s",
    account_id=ACCOUNT,
    principal_arn=f"arn:aws:iam::{ACCOUNT}:user/clary",
    user_id="AIDAEXAMPLE",
)


@pytest.fixture
def sessions():
    return Sessions(b"key", account_id=ACCOUNT)


def ask(handlers, operation, caller=USER, region="us-east-1", **params):
    context = RequestContext(request_id="r", account_id=ACCOUNT, region=region, caller=caller)
    return asyncio.run(handlers[operation](context, params))


@pytest.fixture
def sts(sessions):
    return Identity(sessions, clock=FixedClock(NOW)).handlers()


@pytest.fixture
def iam():
    return Roles(since=Instant(1_700_000_000_000)).handlers()


def issue(sessions, **changes):
    return sessions.issue(**{"principal_arn": "arn:p", "user_id": "AROA:s", "expiration": later(NOW, 900)} | changes)


def signed(credential, at):
    request = Request(method="POST", raw_path=b"/", query=b"", headers=[(b"host", b"h")], body=b"")
    headers = sign(
        request, credential=credential, region="us-east-1", service="sts", now=at, signing_keys=SigningKeys()
    )
    return replace(request, headers=[*request.headers, *headers])


def prove(sessions, credential, at):
    return verify(signed(credential, at), credentials=sessions.find, now=at, signing_keys=SigningKeys()).credential


def test_a_session_is_found_again_by_whoever_has_the_key(sessions):
    """A restarted server has kept nothing and knows all of it."""
    made = issue(sessions)
    assert Sessions(b"key", account_id=ACCOUNT).find(made.access_key_id, made.session_token) == made
    assert made.access_key_id.startswith("ASIA")
    assert len(made.access_key_id) == 20
    assert len(made.secret_access_key) == 40
    assert issue(sessions).access_key_id != made.access_key_id


def test_a_session_proves_itself_until_it_ends(sessions):
    """To the second; from then on the caller is told so, in the words of his protocol."""
    made = issue(sessions)
    assert prove(sessions, made, later(NOW, 899)) == made
    with pytest.raises(Refused) as refused:
        prove(sessions, made, later(NOW, 900))
    assert refused.value.cause is Cause.EXPIRED_TOKEN
    codes = {protocol: refused.value.as_error(protocol).code for protocol in ("json", "query", "s3")}
    assert codes == {"json": "ExpiredTokenException", "query": "ExpiredToken", "s3": "ExpiredToken"}


def test_nothing_but_what_was_given_out_is_a_session(sessions):
    """Another server's token, another session's, one changed anywhere, none, or none of a session's keys."""
    made, other = issue(sessions), issue(sessions)
    foreign = issue(Sessions(b"another key", account_id=ACCOUNT))
    token = made.session_token
    changed = [token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :] for at in range(0, len(token) - 2, 7)]
    for bad in (other.session_token, foreign.session_token, token[:-4], "", "é", "====", *changed):
        with pytest.raises(Refused) as refused:
            sessions.find(made.access_key_id, bad)
        assert refused.value.cause is Cause.WRONG_TOKEN
    assert sessions.find(made.access_key_id, None) is None
    assert sessions.find("AKIAEXAMPLE", token) is None
    with pytest.raises(Refused) as refused:
        prove(sessions, replace(made, secret_access_key=other.secret_access_key), NOW)
    assert refused.value.cause is Cause.MISMATCH


def test_assume_role_gives_a_session_of_that_role(sts, sessions):
    """Known as assumed-role/NAME/SESSION, without the role's path, for an hour unless said otherwise."""
    answer = ask(sts, "AssumeRole", RoleArn=ROLE, RoleSessionName="me", ExternalId="any")
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/Trainer/me"
    assert answer["AssumedRoleUser"]["Arn"] == arn
    assert answer["AssumedRoleUser"]["AssumedRoleId"].startswith("AROA")
    given = answer["Credentials"]
    assert given["Expiration"] == NOW / 1000 + 3600
    caller = sessions.find(given["AccessKeyId"], given["SessionToken"])
    assert caller.secret_access_key == given["SecretAccessKey"]
    identity = ask(sts, "GetCallerIdentity", caller=caller)
    assert identity == {"UserId": answer["AssumedRoleUser"]["AssumedRoleId"], "Account": ACCOUNT, "Arn": arn}
    long = ask(sts, "AssumeRole", RoleArn=ROLE, RoleSessionName="me", DurationSeconds=43_200)
    assert long["Credentials"]["Expiration"] == NOW / 1000 + 43_200


def test_a_session_may_assume_a_role_for_an_hour_at_most(sts, sessions):
    """Role chaining."""
    caller = issue(sessions)
    assert ask(sts, "AssumeRole", caller=caller, RoleArn=ROLE, RoleSessionName="me", DurationSeconds=3600)
    with pytest.raises(AwsError, match="1 hour session limit for roles assumed by role chaining"):
        ask(sts, "AssumeRole", caller=caller, RoleArn=ROLE, RoleSessionName="me", DurationSeconds=3601)


@pytest.mark.parametrize(
    ("changes", "code", "why"),
    [
        ({"Policy": "{}"}, "ValidationException", "Clary does not support Policy"),
        ({"PolicyArns": [{"arn": ROLE}]}, "ValidationException", "PolicyArns"),
        ({"Tags": [{"Key": "a", "Value": "b"}]}, "ValidationException", "Tags"),
        ({"TokenCode": "123456"}, "ValidationException", "TokenCode"),
        ({"RoleArn": "arn:aws:s3:::a-bucket-and-no-role"}, "ValidationException", "Request ARN is invalid"),
        ({"RoleArn": ROLE.replace(ACCOUNT, "1" * 12)}, "AccessDenied", "not authorized to perform: sts:AssumeRole"),
    ],
)
def test_what_a_session_cannot_be_is_refused_by_name(sts, changes, code, why):
    """Above all what would narrow it: a session that may do more than was asked must not be given out."""
    with pytest.raises(AwsError, match=why) as refused:
        ask(sts, "AssumeRole", **{"RoleArn": ROLE, "RoleSessionName": "me"} | changes)
    assert refused.value.code == code


def test_get_session_token_gives_the_same_user(sts, sessions):
    given = ask(sts, "GetSessionToken", DurationSeconds=900)["Credentials"]
    caller = sessions.find(given["AccessKeyId"], given["SessionToken"])
    assert ask(sts, "GetCallerIdentity", caller=caller) == ask(sts, "GetCallerIdentity")
    with pytest.raises(AwsError, match="Cannot call GetSessionToken with session credentials"):
        ask(sts, "GetSessionToken", caller=caller)


def test_every_name_is_a_role_that_sagemaker_may_assume(iam, sts):
    """SDK v3 reads the trust document and wants the service in it."""
    role = ask(iam, "GetRole", RoleName="Trainer")["Role"]
    assert role["Arn"] == f"arn:aws:iam::{ACCOUNT}:role/Trainer"
    trust = json.loads(unquote(role["AssumeRolePolicyDocument"]))
    assert {"Service": "sagemaker.amazonaws.com"} in [statement["Principal"] for statement in trust["Statement"]]
    assumed = ask(sts, "AssumeRole", RoleArn=ROLE, RoleSessionName="me")["AssumedRoleUser"]["AssumedRoleId"]
    assert assumed == f"{role['RoleId']}:me"
    china = ask(iam, "GetRole", region="cn-north-1", RoleName="Trainer")["Role"]
    assert china["Arn"].startswith("arn:aws-cn:iam::")


def test_everything_is_allowed_one_result_an_action(iam):
    """With a result for each resource beneath."""
    answer = ask(
        iam,
        "SimulatePrincipalPolicy",
        PolicySourceArn=ROLE,
        ActionNames=["s3:PutObject", "s3:GetObject"],
        ResourceArns=["arn:aws:s3:::b/*"],
    )
    assert answer["IsTruncated"] is False
    assert [(r["EvalActionName"], r["EvalDecision"]) for r in answer["EvaluationResults"]] == [
        ("s3:PutObject", "allowed"),
        ("s3:GetObject", "allowed"),
    ]
    assert answer["EvaluationResults"][0]["ResourceSpecificResults"][0]["EvalResourceName"] == "arn:aws:s3:::b/*"


def test_results_come_in_pages(iam):
    actions = [f"s3:Get{number}" for number in range(5)]
    found, marker = [], {}
    while True:
        page = ask(iam, "SimulatePrincipalPolicy", PolicySourceArn=ROLE, ActionNames=actions, MaxItems=2, **marker)
        found += [result["EvalActionName"] for result in page["EvaluationResults"]]
        if not page["IsTruncated"]:
            break
        marker = {"Marker": page["Marker"]}
    assert found == actions
    assert "Marker" not in page


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"PolicyInputList": ["{}"]}, "InvalidInput"),
        ({"ResourcePolicy": "{}"}, "InvalidInput"),
        ({"PolicySourceArn": "arn:aws:s3:::a-bucket-and-no-role"}, "InvalidInput"),
        ({"PolicySourceArn": ROLE.replace(ACCOUNT, "1" * 12)}, "NoSuchEntity"),
        ({"Marker": "x"}, "ValidationException"),
    ],
)
def test_what_would_have_to_be_evaluated_is_refused(iam, changes, code):
    with pytest.raises(AwsError) as refused:
        ask(iam, "SimulatePrincipalPolicy", **{"PolicySourceArn": ROLE, "ActionNames": ["s3:*"]} | changes)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("arn", "name"),
    [
        (ROLE, "Trainer"),
        (f"arn:aws-cn:iam::{ACCOUNT}:role/a/b/c@d", "c@d"),
        (f"arn:aws:iam::{ACCOUNT}:user/Trainer", None),
        (f"arn:aws:iam::{ACCOUNT}:role/", None),
        (f"arn:aws:iam::{ACCOUNT}:role/a b", None),
        (ROLE + "\n", None),
    ],
)
def test_the_name_of_a_role_is_the_last_part_of_its_arn(arn, name):
    assert (parse_role_arn(arn) or (None, None))[1] == name

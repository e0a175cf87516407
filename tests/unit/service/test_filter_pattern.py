"""Filter patterns: the cases of CloudWatch's documentation, its quotas, and what is refused."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.service.filter_pattern import InvalidPattern, compile_pattern

BAD_REQUEST = "[ERROR 400] BAD REQUEST"
UNAUTHORIZED = "[ERROR 401] UNAUTHORIZED REQUEST"
MISSING = "[ERROR 419] MISSING ARGUMENTS"
INVALID = "[ERROR 420] INVALID ARGUMENTS"
APACHE = '127.0.0.1 Prod frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534'
GET = "INFO 09/25/2014 12:00:00 GET /service/resource/67 1200"
POST = "INFO 09/25/2014 12:00:01 POST /service/resource/67/part/111 1310"
WARNING = "WARNING 09/25/2014 12:00:02 Invalid user request"
ERROR = "ERROR 09/25/2014 12:00:02 Failed to process request"
TRAIL = """{"eventType": "UpdateTrail", "sourceIPAddress": "111.111.111.111", "arrayKey": ["value", "another value"],
  "objectList": [{"name": "a", "id": 1}, {"name": "b", "id": 2}], "SomeObject": null, "cluster.name": "c",
  "ThisFlag": true}"""
USERS = """{"user": {"id": 1, "email": "John.Stiles@example.com"},
  "users": [{"id": 2, "email": "John.Doe@example.com"}, {"id": 3, "email": "Jane.Doe@example.com"}],
  "actions": ["GET", "PUT", "DELETE"], "coordinates": [[0, 1, 2], [4, 5, 6], [7, 8, 9]]}"""

DOCUMENTED = [
    # terms
    ("ERROR", BAD_REQUEST, True),
    ("ERROR", INVALID, True),
    ("ERROR", "an error", False),
    ("ERROR", "Exiting with ERRORCODE: -1", True),
    ('"ERROR" - "Exiting"', "Exiting with ERRORCODE: -1", False),
    ('"ERROR" - "Exiting"', "[ERROR] A fatal exception has occurred", True),
    ("ERROR ARGUMENTS", MISSING, True),
    ("ERROR ARGUMENTS", INVALID, True),
    ("ERROR ARGUMENTS", BAD_REQUEST, False),
    ("ERROR Exception", "[ERROR] Caught IllegalArgumentException", True),
    ("?ERROR ?ARGUMENTS", UNAUTHORIZED, True),
    ("?ERROR ?ARGUMENTS", "MISSING ARGUMENTS", True),
    ("?ERROR ?ARGUMENTS", "[INFO] REQUEST FAILED", False),
    ("?ERROR ?ARGUMENTS REQUEST", "[INFO] REQUEST FAILED", True),
    ("?ERROR ?ARGUMENTS REQUEST", "[WARN] UNAUTHORIZED REQUEST", True),
    ("?ERROR ?ARGUMENTS REQUEST", MISSING, False),
    ('"INTERNAL SERVER ERROR"', "[ERROR 500] INTERNAL SERVER ERROR", True),
    ('"INTERNAL SERVER ERROR"', "[ERROR 500] INTERNAL ERROR ON SERVER", False),
    ("ERROR -ARGUMENTS", UNAUTHORIZED, True),
    ("ERROR -ARGUMENTS", MISSING, False),
    ('" "', "no_blank_in_it", True),
    ("", "anything", True),
    ("   ", "anything", True),
    (r'"say \"loss\""', 'they say "loss" here', True),
    (r'"a\\b"', "a\\b", True),
    # regular expressions
    ("%AUTHORIZED%", UNAUTHORIZED, True),
    ("%AUTHORIZED%", "[SUCCESS 200] AUTHORIZED REQUEST", True),
    ("%AUTHORIZED%", BAD_REQUEST, False),
    ("%^[hc]at%", "hat", True),
    ("%^[hc]at%", "a hat", False),
    ("%[hc]at$%", "a cat", True),
    ("%colou?r%", "colour", True),
    ("%^a{3,5}$%", "aaaa", True),
    ("%^a{3,5}$%", "aa", False),
    ("%^a{,2}$%", "aa", True),
    ("%^a{,2}$%", "aaa", False),
    ("%^starting|^initializing|^shutting down%", "shutting down", True),
    ("%^starting|^initializing|^shutting down%", "skipping initializing", False),
    (r"%\[.\]%", "[7]", True),
    (r"%10\.10\.0\.1%", "10010,051", False),
    ("%10.10.0.1%", "10010,051", True),
    (r"%\d%", "a", False),
    (r"%\x3A%", "a:b", True),
    (r"%\x28%", "a(b", True),
    (r"%\w\s\W%", "a -", True),
    # JSON
    ('{ $.eventType = "UpdateTrail" }', TRAIL, True),
    ("{ $.eventType = UpdateTrail }", TRAIL, True),
    ('{ $.eventType = "Update*" }', TRAIL, True),
    ('{ $.eventType = "*Trail" }', TRAIL, True),
    ('{ $.eventType = "Up*ail" }', TRAIL, False),
    ("{ $.sourceIPAddress != 123.123.* }", TRAIL, True),
    ("{ $.sourceIPAddress != 111.111.* }", TRAIL, False),
    ('{ $.arrayKey[0] = "value" }', TRAIL, True),
    ('{ $.arrayKey = "value" }', TRAIL, False),
    ('{ $.arrayKey != "other" }', TRAIL, False),
    ("{ $.objectList[1].id = 2 }", TRAIL, True),
    ("{ $.eventType = %Trail% }", TRAIL, True),
    ("{ $.arrayKey[*] = %val.{2}% }", TRAIL, True),
    (r"{ $.* = %111\.111\.111\.1[0-9]{1,2}% }", TRAIL, True),
    ("{ $.['cluster.name'] = \"c\" }", TRAIL, True),
    ("{ $.SomeObject IS NULL }", TRAIL, True),
    ("{ $.eventType IS NULL }", TRAIL, False),
    ("{ $.ThisFlag IS TRUE }", TRAIL, True),
    ("{ $.ThisFlag IS FALSE }", TRAIL, False),
    ("{ $.SomeOtherObject NOT EXISTS }", TRAIL, True),
    ("{ $.SomeObject NOT EXISTS }", TRAIL, False),
    ("{ $.SomeOtherObject != 1 }", TRAIL, False),
    ("{ $.bandwidth > 75 }", '{"bandwidth": 80}', True),
    ("{ $.latency < 50 }", '{"latency": 50}', False),
    ("{ $.refreshRate >= 60 }", '{"refreshRate": 60}', True),
    ("{ $.responseTime <= 5 }", '{"responseTime": 5.5}', False),
    ("{ $.errorCode = 400}", '{"errorCode": 400}', True),
    ("{ $.errorCode = 4* }", '{"errorCode": 404}', True),
    ("{ $.errorCode != 500 }", '{"errorCode": 500}', False),
    ("{ $.number[0] = 1e+3 }", '{"number": [1000]}', True),
    ("{ $.number[0] != 1e-3 }", '{"number": [0.001]}', False),
    ("{ $.latency > +1000 }", '{"latency": 1001}', True),
    ("{ $.latency = * }", '{"latency": 1}', True),
    ('{ ($.user.id = 1) && ($.users[0].email = "John.Doe@example.com") }', USERS, True),
    (
        '{ $.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = "nonmatch" && $.actions[2] = "nonmatch" }',
        USERS,
        True,
    ),
    (
        '{ ($.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = "nonmatch") && $.actions[2] = "nonmatch" }',
        USERS,
        False,
    ),
    ('{ ($.user.id = 2 && $.users[0].email = "nonmatch") || $.actions[2] = "GET" }', USERS, False),
    ("{ $.users = 1 }", '{"users": [1, 2, 3]}', False),
    ("{ $.users != 1 }", '{"users": [1, 2, 3]}', False),
    ("{ $.foo = bar || $.foo = baz }", '{"foo": "baz"}', True),
    ("{ $.eventType NOT EXISTS }", "no JSON", False),
    # space-delimited
    (
        r"[ip=%127\.0\.0\.[1-9]%, user, username, timestamp, request =*.html*, status_code = 4*, bytes]",
        APACHE,
        True,
    ),
    ("[..., request =*.html*, status_code = 4*, bytes]", APACHE, True),
    ("[..., request=*.html*, status_code=4*,]", APACHE, True),
    ("[ip, user, ..., status_code, bytes = 1534]", APACHE, True),
    ("[ip=127.0.0.1, user, ...]", APACHE, True),
    ("[ip, user, username, timestamp, request, status_code = 404 || status_code = 410, bytes]", APACHE, True),
    ("[ip, user, username, timestamp, request, status_code = 4* && status_code != 403, bytes]", APACHE, True),
    ("[ip, user, username, timestamp, request, status_code = 4* && status_code != 404, bytes]", APACHE, False),
    ("[ip, user, username, timestamp, request, status_code, bytes > 1000]", APACHE, True),
    ("[ip, user, username, timestamp, request, status_code, bytes > 2000]", APACHE, False),
    ("[a, b, c, d, e, f, g, h]", APACHE, False),
    ("[w1=ERROR, w2]", ERROR, True),
    ("[w1=ERROR, w2]", GET, False),
    ("[w1=ERROR, w2]", "ERROR", False),
    ("[w1=ERROR || w1=WARNING, w2]", WARNING, True),
    ("[w1=ERROR || w1=%WARN%, w2]", WARNING, True),
    ("[w1!=ERROR && w1!=WARNING, w2]", GET, True),
    ("[w1!=ERROR && w1!=WARNING, w2]", ERROR, False),
    ("[logLevel, date, time, method, url=%/service/resource/[0-9]+$%, response_time]", GET, True),
    ("[logLevel, date, time, method, url=%/service/resource/[0-9]+$%, response_time]", POST, False),
    ("[logLevel, date, time, method, url=%/service/resource/[0-9]+/part/[0-9]+$%, response_time]", POST, True),
    ("[]", APACHE, True),
]

REFUSED = [
    ("loss=0.5", "Invalid character(s) in term '='"),
    ("?Status: timeout", "Invalid character(s) in term ':'"),
    ("[loss", "If a filter pattern starts with '[' it must end with ']'"),
    ("{ $.a = 1", "If a filter pattern starts with '{' it must end with '}'"),
    ('""', "Invalid character(s) in term '\"\"'"),
    ('"open', "closing quote"),
    ('"a"b', "stands apart"),
    ("%something!%", "Invalid character(s) in term '!'"),
    ("%(ab)+%", "Invalid character(s) in term '('"),
    ("%café%", "Invalid character(s) in term 'é'"),
    (r"%\bword%", "Invalid character(s) in term '\\'"),
    ("%[a%", "cannot be read"),
    ("%a% ERROR", "alone"),
    ("%a% %b%", "alone"),
    ("%", "two %"),
    ("{ $.a }", "A comparison was expected"),
    ("{ $.a = }", "A value was expected"),
    ("{ a = 1 }", "A property selector such as $.name"),
    ("{ $.a = 1 $.b = 2 }", "&& or || was expected"),
    ("{ ($.a = 1 }", "A closing parenthesis"),
    ("{ $.a IS NOT NULL }", "IS NOT is not supported"),
    ("{ $.a EXISTS }", "A comparison was expected before EXISTS"),
    ("{ $.a > high }", "The operator > needs a number"),
    ("{ $.*.b[*] = 1 }", "more than one wildcard"),
    ("{ $.a[*] = 1 || $.b[*] = 1 || $.c[*] = 1 || $.d[*] = 1 }", "at most 3 wildcard selectors"),
    ('{ $."detail" = 1 }', "Invalid character(s) in term '$'"),
    ("{ " + "(" * 40 + "$.a = 1" + ")" * 40 + " }", "nested 32 deep"),
    ("[a=%x%, b=%y%, c=%z%]", "at most 2 regular expressions"),
    ("[a, ..., b, ...]", "one ellipsis"),
    ("[a = ]", "A value was expected"),
    ("[a = 1 || b = 2]", "name another one"),
    ("[1a]", "name of a field"),
    ("[a b]", "A comparison was expected"),
    ("[w1=!ERROR, w2]", "Invalid character(s) in term '!'"),
]


@pytest.mark.parametrize(("pattern", "message", "matches"), DOCUMENTED)
def test_a_documented_pattern_matches_what_the_documentation_says(pattern, message, matches):
    """Each row is an example of the user guide, or follows from one of its sentences."""
    assert compile_pattern(pattern)(message) is matches


@pytest.mark.parametrize(("pattern", "why"), REFUSED)
def test_what_is_no_pattern_or_not_supported_is_refused_by_name(pattern, why):
    """The text says what was wrong."""
    with pytest.raises(InvalidPattern) as refused:
        compile_pattern(pattern)
    assert why in str(refused.value)


@given(st.text(alphabet='ab1 "%{}[]$.=!<>&|()*?-,\\', max_size=40), st.text(max_size=30))
def test_any_text_is_a_pattern_or_refused_and_any_message_gets_an_answer(pattern, message):
    """Nothing but InvalidPattern comes out, and the answer is yes or no."""
    try:
        matches = compile_pattern(pattern)
    except InvalidPattern:
        return
    assert matches(message) in {True, False}


def test_no_expression_takes_more_than_linear_time():
    """What holds a backtracking engine for ever is answered at once, and rightly."""
    began = time.process_time()
    assert not compile_pattern("%^a*a*a*a*a*a*a*a*b$%")("a" * 100_000)
    assert not compile_pattern('{ $.a = "*x" }')("[" * 100_000)
    assert time.process_time() - began < 5  # seconds; a backtracking engine needs years

"""Pages of the console: whole, with nothing of a user's in their markup, and with nothing that the browser is forbidden to obey."""

import hashlib
import json
from html.parser import HTMLParser
from pathlib import Path

import jinja2
import msgspec
import pytest
from hatchling.builders.wheel import WheelBuilder

import console_examples as examples
from clary.console import contexts
from clary.console.render import bytes_words, duration_words, number_words, render, time_stamp, time_words

PACKAGE = Path(contexts.__file__).parent
VOID = {"meta", "link", "input", "br", "hr", "img"}


class Parsed(HTMLParser):
    """The elements of a page, as (name, attributes), and its text. A tag that is not closed in its turn is an error."""

    def __init__(self, page):
        super().__init__()
        self.elements = []
        self.text = ""
        self._open = []
        self.feed(page.decode())
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), (tag, attrs)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def by_id(self, name):
        return next((attributes for _, attributes in self.elements if attributes.get("id") == name), None)


def parsed(name):
    template, make = examples.EVERY_PAGE[name]
    return Parsed(render(template, make()))


@pytest.fixture(params=examples.EVERY_PAGE)
def name(request):
    return request.param


def test_a_page_obeys_its_own_content_security_policy(name):
    """No page has a script, a style or a handler of its own in it, and none points to another origin."""
    page = parsed(name)
    assert all(attributes.get("src", "").startswith(examples.BASE) for attributes in page.all("script"))
    assert page.all("style") == []
    for tag, attributes in page.elements:
        assert not [attribute for attribute in attributes if attribute.startswith(("on", "hx-on", "style"))], (
            tag,
            attributes,
        )
        for attribute in ("src", "href", "action", "hx-get"):
            assert attributes.get(attribute, "/").startswith(("/", "#")), (tag, attributes)


def test_what_can_be_pointed_at_is_there_once(name):
    """Ids are unique, and what refers to one finds it."""
    page = parsed(name)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes} <= set(
        ids
    )


def test_each_whole_page_has_a_title_a_language_and_one_heading():
    """A page can be told from others by its title and its one h1, and is read in English."""
    for name, (template, _) in examples.EVERY_PAGE.items():
        page = parsed(name)
        if page.elements[0][0] == "html":
            assert len(page.all("h1")) == 1, name
            assert page.elements[0][1] == {"lang": "en"}
            assert len(page.all("title")) == 1
        else:
            assert template in {"jobs_rows.html", "job_live.html", "job_log_lines.html"}


def test_every_field_can_be_reached_by_its_label(name):
    """Fields that people fill in stand in a label, or say by themselves what they are."""
    template, make = examples.EVERY_PAGE[name]
    text = render(template, make()).decode()
    for tag in ("input", "select"):
        for attributes in Parsed(text.encode()).all(tag):
            if attributes.get("type") != "hidden" and "aria-label" not in attributes:
                before = text.partition(f'name="{attributes["name"]}"')[0]
                assert before.rfind("<label") > before.rfind("</label"), attributes


def with_texts(text, value):
    """The same with every text replaced by this one."""
    if isinstance(value, str):
        return text if value else ""
    if isinstance(value, msgspec.Struct):
        fields = {field: with_texts(text, getattr(value, field)) for field in value.__struct_fields__}
        return type(value)(**fields | ({"static": value.static} if isinstance(value, contexts.PageFrame) else {}))
    if isinstance(value, tuple):
        return tuple(with_texts(text, each) for each in value)
    if isinstance(value, dict):
        return {with_texts(text, key): with_texts(text, each) for key, each in value.items()}
    return value


def test_no_text_becomes_markup(name):
    """Whatever a name, a tag, a line of a log or a path holds, the page has the elements and attributes that it has anyway."""
    template, make = examples.EVERY_PAGE[name]
    usual, hostile = (Parsed(render(template, with_texts(text, make()))) for text in ("harmless", examples.HOSTILE))
    assert [(tag, [*attributes]) for tag, attributes in hostile.elements] == [
        (tag, [*attributes]) for tag, attributes in usual.elements
    ]
    assert hostile.text.count(examples.HOSTILE) + hostile.text.count(
        json.dumps(examples.HOSTILE)[1:-1]
    ) == usual.text.count("harmless")


def test_a_context_without_what_a_template_shows_is_an_error():
    """A name that is missing does not become an empty string."""
    with pytest.raises(jinja2.UndefinedError):
        render("job.html", examples.problem_page())


def test_every_context_has_its_template():
    """What the tables of templates name is there."""
    there = {path.name for path in (PACKAGE / "templates").iterdir()}
    assert {*contexts.TEMPLATES.values(), *contexts.FRAGMENTS.values()} <= there


def test_a_job_that_has_ended_is_asked_for_no_more():
    """The live part asks again while a job is under way, and not afterwards."""
    assert parsed("job-downloading").by_id("live")["hx-get"] == f"{examples.BASE}/jobs/wide-2026/live"
    assert "hx-get" not in parsed("job").by_id("live")
    assert parsed("logs").by_id("tail")["hx-trigger"] == "every 2s"
    assert Parsed(render("job_log_lines.html", examples.log_lines(3))).by_id("tail") is None


def test_a_job_is_stopped_and_deleted_by_forms_with_the_token():
    """What changes a job is a POST with the session's token; deleting asks first."""
    running, ended = parsed("job-downloading"), parsed("job")
    assert {"method": "post", "action": f"{examples.BASE}/jobs/wide-2026/stop"} in running.all("form")
    assert running.by_id("delete") is None
    assert ended.by_id("stop") is None
    assert ended.by_id("delete")["href"] == f"{examples.BASE}/jobs/linear-2026/delete"
    for page in (running, ended, parsed("delete")):
        posts = [form for form in page.all("form") if form["method"] == "post"]
        tokens = [field for field in page.all("input") if field["name"] == "csrf_token"]
        assert [token["value"] for token in tokens] == ["csrf-0"] * len(posts)


def test_a_page_tells_why_a_job_failed_and_what_of_it_does_not_act():
    """FailureReason and the members that are only recorded stand on the page of a job."""
    assert "Traceback: ValueError: no column 'price'" in parsed("job-failed").text
    page = parsed("job")
    assert "ProfilerConfig" in page.text
    assert "there is no profiler" in page.text


def test_an_image_is_named_by_its_digest():
    """The digest of the image that ran stands on the page; for one that has not been pulled yet there is a dash."""
    digest = "registry.example/train@sha256:" + "0f" * 32
    for told, shown in ((digest, digest), (None, "–")):
        page = examples.job_page(algorithm=examples.algorithm(runs="container", image_digest=told))
        text = Parsed(render("job.html", page)).text
        assert shown in text.partition("Image digest")[2][:200]


def test_who_has_not_signed_in_sees_no_navigation():
    """The page that asks to sign in has no links into the console, no forms and no scripts."""
    page = parsed("signed-out")
    assert page.all("nav") == page.all("form") == page.all("script") == []
    assert "clary open" in page.text


def test_durations_in_words():
    """The two largest units that say something; tenths below ten seconds."""
    said = {
        0: "0.0 s",
        -3: "0.0 s",
        0.44: "0.4 s",
        9.97: "10 s",
        59.6: "1 min 00 s",
        90: "1 min 30 s",
        3599.9: "1 h 00 min",
    }
    said |= {86_399: "23 h 59 min", 86_400: "1 d 00 h", 200_000: "2 d 07 h"}
    assert {seconds: duration_words(seconds) for seconds in said} == said


def test_bytes_in_words():
    """In powers of 1000, three digits."""
    said = {0: "0 bytes", 999: "999 bytes", 999.7: "1.0 kB", 1500: "1.5 kB", 99_960: "100 kB", 999_600: "1.0 MB"}
    said |= {24_000_000_000: "24.0 GB", 10**19: "10000.0 PB"}
    assert {count: bytes_words(count) for count in said} == said


def test_times_and_numbers_in_words():
    """Times are in UTC, for people and for scripts; numbers have six significant digits."""
    assert time_words(examples.NOW) == "2026-07-01 12:00:05 UTC"
    assert time_stamp(examples.NOW) == "2026-07-01T12:00:05.123Z"
    said = [number_words(number) for number in (20_000, 0.123456789, 1e-9, 2.0, float("nan"))]
    assert said == ["20,000", "0.123457", "1e-09", "2", "nan"]


def test_files_of_others_are_those_that_are_noted():
    """Each vendored file is exactly the published one, and has its licence beside it."""
    static = PACKAGE / "static"
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (static / "VERSIONS.md").read_text().splitlines()
        if line.startswith("|") and not line.startswith(("| file", "|---"))
    ]
    assert {row[0] for row in rows} == {path.name for path in static.iterdir() if ".min." in path.name}
    for file, _, _, licence, digest in rows:
        assert hashlib.sha256((static / file).read_bytes()).hexdigest() == digest, file
        assert (static / licence.partition("(")[2].rstrip(")")).is_file()


def test_an_installed_package_has_all_files_of_the_console():
    """Templates, scripts, style sheets and licences travel in the wheel."""
    root = PACKAGE.parents[2]
    shipped = {file.distribution_path for file in WheelBuilder(str(root)).recurse_included_files()}
    ours = {
        path.relative_to(root / "src").as_posix()
        for part in ("templates", "static")
        for path in (PACKAGE / part).iterdir()
    }
    assert ours <= shipped

"""The console in a browser: signing in, jobs while they run, logs, curves, stopping and deleting; and what a page must not do."""

import re
from contextlib import contextmanager

import pytest
from playwright.sync_api import expect

import console_examples as examples
from clary.console.render import render
from server import new_name

pytest_plugins = ["server"]

WAITS = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("first line", flush=True)
while not os.path.exists("/opt/ml/go"): time.sleep(0.05)
print("last line <b id=hacked>not bold</b>", flush=True)
"""
HOSTILE = "<img id=hacked src=x onerror=\"document.title='hacked'\"> '&amp;"


@pytest.fixture(scope="module")
def bucket(server):
    return server.bucket()


@pytest.fixture
def jobs(server, bucket):
    """Makes jobs, and lets them go at the end, as far as they wait."""

    made = []

    class Jobs:
        def create(self, program=WAITS, prefix="job", **changes):
            name = new_name(prefix)
            server.client("sagemaker").create_training_job(**server.job(name, bucket, program=program, **changes))
            made.append(name)
            return name

        def waiting(self, **changes):
            """A job that trains until it is let go."""
            name = self.create(**changes)
            server.reach(name, "Training")
            return name

        def ended(self, program="print('done')", **changes):
            name = self.create(program, **changes)
            server.end(name)
            return name

    yield Jobs()
    for name in made:
        server.let_go(name)
        if server.client("sagemaker").list_training_jobs(NameContains=name)["TrainingJobSummaries"]:
            server.end(name)


@contextmanager
def without_loading_again(page):
    """Fails if the page was loaded anew meanwhile: it is to change by itself."""
    page.evaluate("window.here = true")
    yield
    assert page.evaluate("window.here") is True


def test_one_signs_in_by_an_address_that_is_good_once(console):
    """Without a session a page says how to sign in; the printed address leads to the jobs, and nobody else by it."""
    page = console.page(signed_in=False)
    expect(page.get_by_text("clary open")).to_be_visible()
    expect(page.get_by_role("navigation")).to_have_count(0)
    link = console.link()
    page.goto(link)
    expect(page.get_by_role("heading", name="Training jobs")).to_be_visible()
    assert page.url == f"{console.base}/jobs"
    other = console.page(None, signed_in=False)
    other.goto(link)
    expect(other.get_by_role("heading", name="Sign in")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("clary open")).to_be_visible()
    # A browser tells of each answer 401.
    assert all("401" in problem for problem in console.problems)
    console.problems.clear()


def test_the_door_leads_a_browser_to_the_console(console):
    """Who opens the server's address in a browser comes to the list of jobs."""
    page = console.page(None)
    page.goto(console.server.url)
    expect(page.get_by_role("heading", name="Training jobs")).to_be_visible()


def test_the_list_follows_jobs_by_itself(console, jobs, server):
    """A job appears in an open list, and shows its status as it changes; the filter finds it."""
    prefix = new_name("listed")
    page = console.page(f"/jobs?name={prefix}")
    expect(page.get_by_text("No training job matches")).to_be_visible()
    with without_loading_again(page):
        name = jobs.waiting(prefix=prefix)
        row = page.get_by_role("row").filter(has_text=name)
        expect(row).to_contain_text("InProgress")
        expect(row).to_contain_text("Training in progress")
        server.let_go(name)
        expect(row).to_contain_text("Completed")
    page.get_by_label("Status").select_option("Failed")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_text("No training job matches")).to_be_visible()
    page.get_by_role("link", name="Clear").click()
    page.get_by_role("link", name=name).click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()


def test_the_page_of_a_job_follows_it_to_its_end(console, jobs, server):
    """Step, status, history and buttons change while the page is open; then it asks no more."""
    name = jobs.waiting()
    page = console.page(f"/jobs/{name}")
    current = page.locator(".steps [aria-current=step]")
    expect(current).to_contain_text("Training")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(page.get_by_role("link", name="Delete")).to_have_count(0)
    with without_loading_again(page):
        server.let_go(name)
        expect(page.locator("#job-head")).to_contain_text("Completed")
        expect(page.get_by_role("button", name="Stop")).to_have_count(0)
        expect(page.get_by_role("link", name="Delete")).to_be_visible()
        expect(current).to_have_count(0)
        expect(page.locator("#live")).to_contain_text("Uploading generated training model")
        expect(page.locator("[hx-trigger]")).to_have_count(0)
    expect(page.get_by_text(f"{name}/output/model.tar.gz")).to_have_count(0)  # the rest of the page is as it was loaded
    page.reload()
    expect(page.get_by_text(f"{name}/output/model.tar.gz").first).to_be_visible()


def test_a_page_that_is_read_stays_as_it_is(console, jobs, server):
    """While text of it is selected, the part that follows the job is not replaced; afterwards it is."""
    name = jobs.waiting()
    page = console.page(f"/jobs/{name}")
    page.locator("#h-history").evaluate("element => getSelection().selectAllChildren(element)")
    server.let_go(name)
    server.end(name)
    for _ in range(2):
        with page.expect_response(re.compile("part=live")):
            pass  # it asks, and does not show
    expect(page.locator("#job-head")).to_contain_text("InProgress")
    page.evaluate("getSelection().removeAllRanges()")
    expect(page.locator("#job-head")).to_contain_text("Completed")


def test_a_log_is_followed_to_its_end(console, jobs, server):
    """Lines come to an open page as they are printed, as text; the head follows, too."""
    name = jobs.waiting()
    page = console.page(f"/jobs/{name}/logs")
    expect(page.get_by_text("first line")).to_be_visible()
    with without_loading_again(page):
        server.let_go(name)
        expect(page.get_by_text("last line <b id=hacked>not bold</b>")).to_be_visible()
        expect(page.get_by_text("The log has ended")).to_be_visible()
        expect(page.locator("#job-head")).to_contain_text("Completed")
    expect(page.locator("#hacked")).to_have_count(0)


def test_a_log_appears_on_a_page_that_waits_for_it(console, jobs, server):
    """A page of a job whose program has not begun, or has printed nothing, shows lines as soon as there are some."""
    name = jobs.waiting()
    path = f"/_clary/console/jobs/{name}/logs"
    early = examples.logs_page(
        name,
        head=examples.job_head(name, "InProgress", "Logs", live_path=None),
        stream=None,
        streams=(),
        lines=examples.log_lines(0),
        download_path=None,
        wait_path=path,
    )
    page = console.page(None)
    page.route(
        f"**{path}", lambda route: route.fulfill(body=render("job_logs.html", early), content_type="text/html"), times=1
    )
    page.goto(console.server.url + path)
    with without_loading_again(page):
        expect(page.get_by_text("first line")).to_be_visible()
        server.let_go(name)
        expect(page.get_by_text("last line")).to_be_visible()
        expect(page.get_by_text("The log has ended")).to_be_visible()
    silent = jobs.waiting(program=WAITS.replace('print("first line", flush=True)', ""))
    page = console.page(f"/jobs/{silent}/logs")
    server.let_go(silent)
    expect(page.get_by_text("last line")).to_be_visible()
    expect(page.get_by_text("No line yet")).to_be_hidden()


def test_a_long_log_is_read_a_part_at_a_time(console, jobs):
    """The newest lines are shown first, those before when asked for, in order; a text finds its lines; the file has all."""
    name = jobs.ended("for n in range(1200): print(f'line {n:04} of many')")
    page = console.page(f"/jobs/{name}/logs")
    rows = page.locator("#lines .row")
    expect(page.get_by_text("line 1199 of many")).to_be_in_viewport()
    shown = rows.count()
    assert shown < 1200
    while rows.count() < 1200:
        page.get_by_role("button", name="Earlier lines").click()
        expect(rows).not_to_have_count(shown)
        shown = rows.count()
    assert rows.locator(".message").all_text_contents() == [f"line {n:04} of many" for n in range(1200)]
    expect(page.get_by_role("button", name="Earlier lines")).to_have_count(0)
    page.get_by_role("button", name="Timestamps").click()
    expect(rows.locator("time").first).to_have_text(re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}"))
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.path().read_text().count(" of many\n") == 1200
    page.get_by_label("Only lines with this text").fill("117")
    page.get_by_role("button", name="Find").click()
    expect(rows).to_have_count(12)
    expect(page.get_by_text("line 0117 of many")).to_be_visible()


def test_a_log_that_is_followed_for_long_lets_go_of_its_oldest_lines(console, jobs, server):
    """A page keeps so many answers and no more; what it let go of comes back when it is asked for, without a gap."""
    program = WAITS.replace("time.sleep(0.05)", "time.sleep(0.1); print(f'line {n}', flush=True); n += 1")
    name = jobs.waiting(program="n = 0\n" + program)
    page = console.page(f"/jobs/{name}/logs")
    page.locator("#lines").evaluate("lines => { lines.dataset.keep = 2; }")
    expect(page.get_by_text("first line")).to_have_count(0)
    assert page.locator("#lines .batch").count() == 2
    server.let_go(name)
    expect(page.get_by_text("The log has ended")).to_be_visible()
    while page.get_by_text("first line").count() == 0:
        shown = page.locator("#lines .row").count()
        page.get_by_role("button", name="Earlier lines").click()
        expect(page.locator("#lines .row")).not_to_have_count(shown)
    said = page.locator("#lines .message").all_text_contents()
    assert said == server.lines(name)


def test_curves_are_drawn_while_a_job_runs(console, jobs, server):
    """Each metric definition has a curve, whose last value stands below it and changes with what is printed."""
    program = WAITS.replace("first line", "loss=0.75; accuracy=0.5").replace("last line", "loss=0.125; accuracy=0.875 ")
    definitions = [
        {"Name": name, "Regex": name.partition(":")[2] + "=([0-9.]+)"} for name in ("train:loss", "train:accuracy")
    ]
    name = jobs.waiting(program=program, AlgorithmSpecification={"MetricDefinitions": definitions})
    page = console.page(f"/jobs/{name}/metrics")
    loss = page.get_by_role("figure").filter(has_text="train:loss")
    expect(loss).to_contain_text("0.75")
    expect(page.get_by_role("figure").filter(has_text="train:accuracy")).to_contain_text("0.5")
    with without_loading_again(page):
        server.let_go(name)
        # Values of one second are shown as their average.
        expect(loss).to_contain_text(re.compile(r"0\.125|0\.4375"))
        expect(page.locator("#job-head")).to_contain_text("Completed")
    painted = (
        "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(byte => byte > 0)"
    )
    assert loss.locator("canvas").evaluate(painted)


def test_a_job_without_metrics_says_so(console, jobs):
    """There is a sentence in place of an empty page."""
    page = console.page(f"/jobs/{jobs.ended()}/metrics")
    expect(page.get_by_text("No metric yet")).to_be_visible()


def test_a_job_is_stopped_by_its_button(console, jobs, server):
    """The button stops the job; the page shows Stopping or Stopped, and in the end Stopped."""
    name = jobs.waiting()
    page = console.page(f"/jobs/{name}/logs")
    expect(page.get_by_text("first line")).to_be_visible()  # before that the program would not hear that it is to stop
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#job-head")).to_contain_text(re.compile("Stopp"))
    expect(page.locator("#job-head")).to_contain_text("Stopped")
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    assert server.end(name)["TrainingJobStatus"] == "Stopped"


def test_a_job_is_deleted_once_that_is_confirmed(console, jobs, server):
    """Deleting asks first; cancelled, the job is still there; confirmed, it is gone."""
    name = jobs.ended()
    page = console.page(f"/jobs/{name}")
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("link", name="Cancel").click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", name="Training jobs")).to_be_visible()
    expect(page.get_by_role("link", name=name)).to_have_count(0)
    left = server.client("sagemaker").list_training_jobs(NameContains=name)["TrainingJobSummaries"]
    assert left == []


def test_texts_of_users_are_shown_and_not_obeyed(console, jobs):
    """Hyperparameters, variables, failure reasons and lines with markup in them are text on every page."""
    program = f"open('/opt/ml/output/failure', 'w').write({HOSTILE!r}); print({HOSTILE!r}); raise SystemExit(1)"
    name = jobs.ended(program, HyperParameters={HOSTILE: HOSTILE}, Environment={"HOSTILE": HOSTILE})
    for path in ("", "/logs", "/metrics"):
        page = console.page(f"/jobs/{name}{path}")
        if not path:
            expect(page.get_by_role("alert")).to_contain_text(HOSTILE)
            expect(page.get_by_role("rowheader", name=HOSTILE)).to_be_visible()
        if path == "/logs":
            expect(page.get_by_text(HOSTILE)).to_be_visible()
        expect(page.locator("#hacked")).to_have_count(0)
        assert "hacked" not in page.title()


@pytest.mark.parametrize(
    "looks", [{}, {"viewport": {"width": 420, "height": 900}, "color_scheme": "dark"}], ids=["wide", "phone"]
)
def test_no_page_is_wider_than_its_window(console, jobs, server, bucket, looks):
    """Every page fits the window of a phone, too, with long names and values in it; none complains."""
    long = "a-name-that-is-as-long-as-a-name-may-be-" + new_name("x")
    name = jobs.ended(prefix=long[:50], HyperParameters={"note": "x" * 2000}, ProfilerConfig={"DisableProfiler": True})
    paths = [
        "/jobs",
        "/jobs?name=nothing",
        "/algorithms",
        *(f"/jobs/{name}{end}" for end in ("", "/logs", "/metrics", "/delete")),
    ]
    page = console.page(None, **looks)
    for path in paths:
        page.goto(console.base + path)
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path


def test_the_twin_of_a_page_is_json(console, jobs):
    """The link at the foot of a page leads to the same in JSON."""
    name = jobs.ended()
    page = console.page(f"/jobs/{name}")
    twin = page.get_by_role("link", name="This page as JSON").get_attribute("href")
    assert page.request.get(console.server.url + twin).json()["head"]["name"] == name


def test_a_server_that_is_silent_is_noted_quietly(console, jobs, server):
    """An open page says that the server does not answer, and goes on by itself when it does."""
    name = jobs.waiting()
    page = console.page(f"/jobs/{name}")
    silent = page.get_by_text("The server does not answer")
    expect(silent).to_be_hidden()
    with without_loading_again(page):
        page.route("**/*part=*", lambda route: route.abort())
        expect(silent).to_be_visible()
        server.let_go(name)
        server.end(name)
        page.unroute_all(behavior="wait")
        expect(page.locator("#job-head")).to_contain_text("Completed")
        expect(silent).to_be_hidden()
    assert all("ERR_FAILED" in problem or "htmx" in problem for problem in console.problems), console.problems
    console.problems.clear()


def test_a_session_that_has_ended_is_told(console, jobs):
    """An open page whose session has ended becomes the one that says how to sign in."""
    page = console.page(f"/jobs/{jobs.waiting()}")
    page.context.clear_cookies()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert all("401" in problem for problem in console.problems), console.problems
    console.problems.clear()

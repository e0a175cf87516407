"""The console of a real server, as a browser without a screen: from `clary open` to a job's end, on each runtime."""

import http.client
import itertools
import os
import re
import signal
import subprocess
import time
from urllib.parse import urlencode, urlsplit

import msgspec
import pytest

from container_images import client as engine_client
from each_runtime import EACH_RUNTIME
from server import CLARY, described, left_of, new_name, wait

pytest_plugins = ["server"]

PROGRAM = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("loss=0.5", flush=True)
print("<script>alert(1)</script>", flush=True)
while not os.path.exists("/opt/ml/go"):
    time.sleep(0.05)
print("loss=0.25", flush=True)
open("/opt/ml/model/weights", "w").write("w")
"""
METRICS = [{"Name": "loss", "Regex": "loss=([0-9.]+)"}]


def clary_open(home, *arguments, **environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CLARY_"))}
    kept.pop("DISPLAY", None)
    kept.pop("WAYLAND_DISPLAY", None)
    command = [*CLARY, "open", "--home", str(home), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=kept | environment)


class Browser:
    """Keeps a session with a server."""

    def __init__(self, server):
        self.server = server
        self.cookie = ""
        said = clary_open(server.home, "--print")
        assert (said.returncode, said.stderr) == (0, "")
        self.link = said.stdout.strip()
        address = urlsplit(self.link)
        answer, _ = self.ask("GET", f"{address.path}?{address.query}")
        assert answer.status == 303
        self.cookie = answer.headers["set-cookie"].partition(";")[0]

    def ask(self, method, address, body=None, **headers):
        """An answer, and its body. Addresses are as pages have them."""
        connection = http.client.HTTPConnection(urlsplit(self.server.url).netloc, timeout=60)
        try:
            connection.request(method, address, body, {"Cookie": self.cookie} | headers)
            answer = connection.getresponse()
            return answer, answer.read().decode()
        finally:
            connection.close()

    def get(self, path, **query):
        answer, text = self.ask("GET", f"/_clary/console{path}" + (f"?{urlencode(query)}" if query else ""))
        assert answer.status == 200, (answer.status, text)
        return text

    def json(self, path, **query):
        return msgspec.json.decode(self.get(path, format="json", **query))

    def post(self, path):
        """Press the button of a page."""
        token = re.search(r'name="csrf_token" value="([0-9a-f]+)"', self.get("/jobs"))[1]
        sent = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
        return self.ask("POST", f"/_clary/console{path}", urlencode({"csrf_token": token}), **sent)[0]


def submit(server, program=PROGRAM):
    name = new_name("seen")
    request = server.job(name, server.bucket(), program=program, Tags=[{"Key": "team", "Value": "a"}])
    request["AlgorithmSpecification"]["MetricDefinitions"] = METRICS
    server.client("sagemaker").create_training_job(**request)
    return name


@pytest.mark.parametrize("server", EACH_RUNTIME, indirect=True)
def test_a_job_is_seen_from_its_start_to_its_end(server):
    """Status, lines while they come, the image's digest, then curves, the artifact and the whole log; and it is deleted."""
    browser = Browser(server)
    name = submit(server)
    assert name in browser.get("/jobs")
    server.reach(name, "Training")
    page = browser.json(f"/jobs/{name}")
    assert [stay["status"] for stay in page["history"]] == ["Starting", "Downloading", "Training"]
    assert page["tags"] == [{"name": "team", "value": "a"}]
    assert [each["member"] for each in page["recorded_members"]] == ["RoleArn"]
    digest = page["algorithm"]["image_digest"]
    if server.runtime.name == "docker":
        engine = engine_client()
        try:
            assert engine.inspect_image(server.runtime.image)["Id"] == digest
        finally:
            engine.close()
        assert (page["algorithm"]["runs"], digest in browser.get(f"/jobs/{name}")) == ("container", True)
    else:
        assert (page["algorithm"]["runs"], digest) == ("local environment", None)

    logs = wait(
        lambda: browser.json(f"/jobs/{name}/logs"),
        until=lambda logs: len(logs["lines"]["lines"]) == 2,
        why=server.log_text,
    )
    assert [line["message"] for line in logs["lines"]["lines"]] == ["loss=0.5", "<script>alert(1)</script>"]
    text = browser.get(f"/jobs/{name}/logs")
    assert "&lt;script&gt;alert(1)" in text
    assert "<script>alert" not in text
    follow = logs["lines"]["follow_path"]
    server.let_go(name)
    wait(lambda: browser.ask("GET", follow), until=lambda found: "loss=0.25" in found[1], why=server.log_text)

    ended = server.end(name)
    page = browser.json(f"/jobs/{name}")
    assert [(step["status"], step["state"]) for step in page["steps"]][-1] == ("Completed", "completed")
    assert page["output"]["s3_model_artifacts"] == ended["ModelArtifacts"]["S3ModelArtifacts"]
    assert [(metric["name"], metric["value"]) for metric in page["final_metrics"]] == [("loss", 0.25)]
    assert page["raw"]["TrainingJobArn"] == ended["TrainingJobArn"]
    loss = next(chart for chart in browser.json(f"/jobs/{name}/metrics")["charts"] if chart["name"] == "loss")
    assert {0.5, 0.25} & set(loss["series"][0]["values"]) or loss["series"][0]["values"] == [0.375]
    assert browser.get(f"/jobs/{name}/log.txt") == "".join(f"{line}\n" for line in server.lines(name))
    assert browser.ask("GET", f"/_clary/console/jobs/{name}?part=live")[0].status == 286

    assert browser.post(f"/jobs/{name}/delete").headers["location"] == f"/_clary/console/jobs?deleted={name}"
    assert browser.ask("GET", f"/_clary/console/jobs/{name}")[0].status == 404


def test_a_job_is_stopped_by_a_button(server):
    """And the page says why it ended."""
    browser = Browser(server)
    name = submit(server)
    server.reach(name, "Training")
    wait(lambda: server.lines(name), until=bool, why=server.log_text)  # then the program takes SIGTERM
    assert browser.post(f"/jobs/{name}/stop").status == 303
    assert server.end(name)["TrainingJobStatus"] == "Stopped"
    states = [(step["status"], step["state"]) for step in browser.json(f"/jobs/{name}")["steps"]]
    assert states[-2:] == [("Stopping", "done"), ("Stopped", "stopped")]


def test_the_first_job_that_an_empty_console_proposes_runs(own_server, tmp_path):
    """As it stands there, in a shell with `clary env`."""
    example = Browser(own_server).json("/jobs")["example"]
    own_server.client("sts")  # gets the exports
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CLARY_"))}
    script = tmp_path / "first.py"
    script.write_text(example)
    subprocess.run(
        [CLARY[0], str(script)], check=True, capture_output=True, timeout=120, env=kept | own_server.environment()
    )
    assert own_server.end("first-job")["TrainingJobStatus"] == "Completed"
    assert own_server.lines("first-job") == ["hello from a training job"]


def test_sessions_outlive_a_restart_and_links_do_not(own_server):
    """A link of before may have been used, which the new server cannot know."""
    browser = Browser(own_server)
    unused = clary_open(own_server.home, "--print").stdout.strip()
    own_server.stop()
    said = clary_open(own_server.home)
    assert (said.returncode, said.stdout) == (1, "")
    assert "no server is running" in said.stderr
    own_server.start()
    assert "Training jobs" in browser.get("/jobs")
    for link in (unused, browser.link):
        address = urlsplit(link)
        browser.cookie = ""
        assert browser.ask("GET", f"{address.path}?{address.query}")[0].status == 401


def test_a_browser_is_opened_where_there_is_a_display(server, tmp_path):
    """With the address that is printed, too; without a display, or when it is only to be printed, none is."""
    opened = tmp_path / "opened"
    program = tmp_path / "browser"
    program.write_text(f'#!/bin/sh\necho "$1" >> {opened}\n')
    program.chmod(0o755)
    browser = {"BROWSER": f"{program} %s"}
    clary_open(server.home, "--print", DISPLAY=":1", **browser)
    clary_open(server.home, **browser)
    assert not opened.exists()
    said = clary_open(server.home, DISPLAY=":1", **browser)
    assert opened.read_text() == said.stdout
    assert said.stdout.startswith(f"{server.url}/_clary/console/sign-in?token=")


def test_there_is_no_tls_address_without_a_tls_listener(server):
    said = clary_open(server.home, "--print", "--tls")
    assert (said.returncode, "tls_listen" in said.stderr) == (1, True)


def test_a_download_that_is_under_way_is_shown_in_numbers(own_server):
    """Bytes, objects, and a bar; the store is held up in the middle of it, so that there is something to see."""
    browser, bucket, sagemaker = Browser(own_server), own_server.bucket(), own_server.client("sagemaker")
    size = 64 << 20
    for n in range(4):
        own_server.client("s3").put_object(Bucket=bucket, Key=f"data/{n}", Body=os.urandom(size))
    store = next(int(line.partition(":")[0]) for line in left_of(own_server.home) if "weed" in line)
    for _ in range(5):  # one that was over before the store was held up shows nothing
        name = new_name("slow")
        request = own_server.job(name, bucket, channels=[("train", f"s3://{bucket}/data/", {})])
        request["AlgorithmSpecification"]["ContainerEntrypoint"] = ["python3", "-c", ""]
        sagemaker.create_training_job(**request)
        wait(lambda name=name: described(sagemaker, name), until=lambda d: d["SecondaryStatus"] != "Starting")
        page = held_up(store, lambda name=name: browser.json(f"/jobs/{name}"))
        own_server.end(name)
        if page["downloads"]:
            break
    (download,) = page["downloads"]
    assert (download["host"], download["channel_name"], download["objects_total"]) == ("algo-1", "train", 4)
    assert download["bytes_total"] == 4 * size
    assert 0 < download["bytes_done"] <= 4 * size
    assert download["percent"] == pytest.approx(100 * download["bytes_done"] / (4 * size))


def held_up(store, look):
    """What is seen of a download while the store, which gives a little now and then, stands still."""
    try:
        for n in itertools.count(1):
            os.kill(store, signal.SIGSTOP)
            time.sleep(1.5)  # how far a download is, is told twice a second
            page = look()
            if page["head"]["secondary_status"] != "Downloading":
                return page
            if any(each["bytes_done"] for each in page["downloads"]):
                return page
            os.kill(store, signal.SIGCONT)
            time.sleep(0.03 * n)  # some 15 MB on a quiet machine, and more each time, should it be a busy one
    finally:
        os.kill(store, signal.SIGCONT)

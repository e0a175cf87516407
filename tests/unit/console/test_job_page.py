"""What a training job's page shows: everything from the operations' own answers."""

import msgspec
import pytest

from clary.aws.errors import AwsError
from clary.base.clock import Instant
from clary.compute.port import Observation, Unreachable
from clary.jobs.failure import client_error
from clary.jobs.model import (
    AlgorithmSpecification,
    Channel,
    CheckpointConfig,
    DataSource,
    FileSystemDataSource,
    MetricData,
    MetricDefinition,
    OutputDataConfig,
    RetryStrategy,
    S3DataSource,
    ShuffleConfig,
    Tag,
    TrainingImageConfig,
)
from clary.jobs.task import ChannelProgress, Phase, Snapshot
from console_house import House
from factories import NOW, STEPS, make_groups, make_job, make_program, make_request

DIGEST = "repo/image@sha256:" + "a" * 64


@pytest.fixture
def house():
    return House().sign_in()


def pairs(rows):
    return {row["name"]: row["value"] for row in rows}


def test_a_job_shows_where_it_stands_and_how_it_came_there(house):
    """Each stay with its time; the one that lasts counts to now."""
    house.keep(make_job("a", status="Training"))
    house.clock.advance(12)
    page = house.json("/jobs/a")

    assert (page["head"]["status"], page["head"]["secondary_status"]) == ("InProgress", "Training")
    assert page["head"]["status_message"] == "Training image download completed. Training in progress."
    assert [(stay["status"], stay["start_time"], stay["end_time"], stay["duration_s"]) for stay in page["history"]] == [
        ("Starting", NOW, NOW + 1000, 1),
        ("Downloading", NOW + 1000, NOW + 2000, 1),
        ("Training", NOW + 2000, None, 10),
    ]
    assert (page["duration_s"], page["training_start_time"], page["training_time_s"]) == (12, NOW + 1000, None)
    assert page["raw"]["TrainingJobName"] == "a"
    assert page["poll_s"] > 0


def test_a_job_that_has_ended_is_not_asked_for_again(house):
    """Its times stand; it can be deleted and not stopped."""
    house.keep(make_job("a", status="Completed", s3_model_artifacts="s3://m/out/a/output/model.tar.gz"))
    house.clock.advance(1000)
    page = house.json("/jobs/a")

    assert (page["poll_s"], page["duration_s"], page["training_time_s"]) == (None, 4, 3)
    assert page["output"]["s3_model_artifacts"] == "s3://m/out/a/output/model.tar.gz"
    assert page["head"]["stop_path"] is None
    assert page["head"]["delete_path"] == "/_clary/console/jobs/a/delete"
    assert house.get("/jobs/a", part="live").status == 286


@pytest.mark.parametrize("status", STEPS)
def test_each_status_has_its_page_and_its_buttons(house, status):
    """Stop while it is InProgress, delete once it has ended; the live part asks again as long as there is something to come."""
    house.keep(make_job("a", status=status))
    head = house.json("/jobs/a")["head"]

    assert (head["stop_path"] is not None) == (head["status"] == "InProgress")
    assert (head["delete_path"] is not None) == (head["status"] in {"Completed", "Failed", "Stopped"})
    assert head["is_under_way"] == (head["delete_path"] is None)
    live = house.get("/jobs/a", part="live")
    assert live.status == (200 if head["is_under_way"] else 286)
    assert house.get("/jobs/a").status == 200


def test_the_reason_of_a_failure_is_shown(house):
    house.keep(make_job("a", status="Failed", failure=client_error("no <data>")))
    assert house.json("/jobs/a")["failure_reason"] == "ClientError: no <data>"
    page = house.get("/jobs/a").text
    assert "no &lt;data&gt;" in page
    assert "no <data>" not in page


def test_downloads_are_shown_in_numbers(house):
    """Of each host that has begun, with the rate and the time left once they are known."""
    house.keep(make_job("a", request=make_request("a", instance_count=3), status="Downloading"))
    progress = ChannelProgress(
        channel_name="train", objects_done=3, objects_total=9, bytes_done=250, bytes_total=1000, bytes_per_s=50.0
    )
    house.observations["a-a1-algo-1"] = seen(downloading=progress)
    house.observations["a-a1-algo-2"] = seen(
        downloading=msgspec.structs.replace(progress, bytes_done=0, bytes_per_s=None)
    )
    first, second = house.json("/jobs/a")["downloads"]

    assert first == {
        "host": "algo-1",
        "channel_name": "train",
        "objects_done": 3,
        "objects_total": 9,
        "bytes_done": 250,
        "bytes_total": 1000,
        "percent": 25.0,
        "bytes_per_second": 50.0,
        "remaining_s": 15.0,
    }
    assert (second["host"], second["percent"]) == ("algo-2", 0)
    assert (second["bytes_per_second"], second["remaining_s"]) == (None, None)
    live = house.get("/jobs/a", part="live").text
    assert "train" in live
    assert "25" in live


def seen(*, phase=Phase.DOWNLOADING, **snapshot):
    return Observation(exists=True, alive=True, snapshot=Snapshot(sequence=1, phase=phase, **snapshot))


def test_a_download_is_shown_only_while_there_is_one(house):
    """Neither an instance that has gone on, nor one that cannot be reached, nor a job in another status has any."""
    progress = ChannelProgress(channel_name="c", objects_done=0, objects_total=0, bytes_done=0, bytes_total=0)
    house.keep(make_job("a", status="Downloading"), make_job("b", status="Training"))
    house.observations["b-a1-algo-1"] = seen(downloading=progress)
    for there in (seen(phase=Phase.TRAINING, downloading=progress), seen(), Observation(exists=True), Unreachable("x")):
        house.observations["a-a1-algo-1"] = there
        assert house.json("/jobs/a")["downloads"] == []
    assert house.json("/jobs/b")["downloads"] == []
    house.observations["a-a1-algo-1"] = seen(downloading=progress)
    assert [each["percent"] for each in house.json("/jobs/a")["downloads"]] == [100.0]  # nothing is all of nothing


def test_the_digest_of_the_image_is_shown(house):
    """And what the engine was told to run, where that is not what was asked for."""
    request = make_request(
        "a",
        algorithm_specification=AlgorithmSpecification(
            training_image="repo/image:1",
            training_input_mode="File",
            training_image_config=TrainingImageConfig(training_repository_access_mode="Vpc"),
            container_entrypoint=("python3", "x.py"),
            container_arguments=("--a", "1"),
            metric_definitions=(MetricDefinition(name="loss", regex="loss=(.*)"),),
        ),
    )
    program = make_program(image="repo/image:1", reference="mirror/image:1")
    house.keep(make_job("a", status="Training", request=request, program=program, image_digest=DIGEST))
    assert house.json("/jobs/a")["algorithm"] == {
        "training_image": "repo/image:1",
        "algorithm_name": None,
        "algorithm_path": None,
        "runs": "container",
        "image_reference": "mirror/image:1",
        "image_digest": DIGEST,
        "training_input_mode": "File",
        "container_entrypoint": ["python3", "x.py"],
        "container_arguments": ["--a", "1"],
        "repository_access_mode": "Vpc",
        "metric_definitions": [{"name": "loss", "regex": "loss=(.*)"}],
    }
    assert DIGEST in house.get("/jobs/a").text


def test_a_local_environment_has_no_digest(house):
    house.keep(make_job("a"))
    algorithm = house.json("/jobs/a")["algorithm"]
    assert (algorithm["runs"], algorithm["image_digest"], algorithm["image_reference"]) == (
        "local environment",
        None,
        None,
    )


def test_all_that_was_asked_for_is_shown(house):
    """Channels of each kind, resources, limits, checkpoints, environment, hyperparameters, tags, metrics."""
    channels = (
        Channel(
            channel_name="train",
            data_source=DataSource(
                s3_data_source=S3DataSource(
                    s3_data_type="AugmentedManifestFile",
                    s3_uri="s3://data/m.jsonl",
                    s3_data_distribution_type="ShardedByS3Key",
                    attribute_names=("image-ref", "label"),
                    instance_group_names=("gpus",),
                )
            ),
            input_mode="Pipe",
            content_type="application/x-recordio",
            compression_type="Gzip",
            record_wrapper_type="RecordIO",
            shuffle_config=ShuffleConfig(seed=7),
        ),
        Channel(
            channel_name="files",
            data_source=DataSource(
                file_system_data_source=FileSystemDataSource(
                    file_system_id="fs-1", file_system_access_mode="ro", file_system_type="EFS", directory_path="/d"
                )
            ),
        ),
    )
    request = make_request(
        "a",
        input_data_config=channels,
        resource_config=make_groups(cpus=1, gpus=2),
        checkpoint_config=CheckpointConfig(s3_uri="s3://m/ckpt"),
        output_data_config=OutputDataConfig(
            s3_output_path="s3://m/out", kms_key_id="alias/aws/s3", compression_type="NONE"
        ),
        environment={"A": "1"},
        retry_strategy=RetryStrategy(maximum_retry_attempts=3),
        enable_network_isolation=True,
        recorded={"DebugHookConfig": {"S3OutputPath": "s3://m/d"}},
    )
    house.keep(
        make_job(
            "a",
            status="Completed",
            request=request,
            tags=(Tag(key="team", value="x"),),
            final_metric_data_list=(MetricData(metric_name="loss", value=0.5, timestamp=Instant(NOW)),),
        )
    )
    page = house.json("/jobs/a")

    sharded, mounted = page["channels"]
    assert sharded == {
        "name": "train",
        "source": "S3",
        "input_mode": "Pipe",
        "s3_uri": "s3://data/m.jsonl",
        "s3_data_type": "AugmentedManifestFile",
        "s3_distribution": "ShardedByS3Key",
        "attribute_names": ["image-ref", "label"],
        "instance_group_names": ["gpus"],
        "file_system_id": None,
        "file_system_type": None,
        "file_system_directory": None,
        "file_system_access_mode": None,
        "content_type": "application/x-recordio",
        "compression_type": "Gzip",
        "record_wrapper_type": "RecordIO",
        "shuffle_seed": 7,
    }
    assert (mounted["source"], mounted["input_mode"], mounted["s3_uri"]) == ("FileSystem", "File", None)
    assert [mounted[f"file_system_{part}"] for part in ("id", "type", "directory", "access_mode")] == [
        "fs-1",
        "EFS",
        "/d",
        "ro",
    ]
    assert page["instance_groups"] == [
        {"name": "cpus", "instance_type": "ml.m5.large", "instance_count": 1},
        {"name": "gpus", "instance_type": "ml.c5.xlarge", "instance_count": 2},
    ]
    assert page["checkpoint"] == {"s3_uri": "s3://m/ckpt", "local_path": "/opt/ml/checkpoints"}
    assert page["output"]["kms_key_id"] == "alias/aws/s3"
    assert page["output"]["compression_type"] == "NONE"
    assert (page["max_runtime_s"], page["maximum_retry_attempts"], page["volume_size_in_gb"]) == (3600, 3, 10)
    assert (page["enable_network_isolation"], page["enable_inter_container_traffic_encryption"]) == (True, False)
    assert pairs(page["environment"]) == {"A": "1"}
    assert pairs(page["hyper_parameters"]) == {"epochs": "3"}
    assert pairs(page["tags"]) == {"team": "x"}
    assert page["final_metrics"] == [{"name": "loss", "value": 0.5, "timestamp": NOW}]
    assert [each["member"] for each in page["recorded_members"]] == ["RoleArn", "DebugHookConfig"]
    assert "There is no debugger" in page["recorded_members"][1]["why"]
    assert house.get("/jobs/a").status == 200


def test_what_users_wrote_never_becomes_markup(house):
    """On any of a job's pages, wherever they wrote it."""
    evil = "<script>alert(1)</script>\"'&"
    request = make_request(
        "a",
        hyper_parameters={evil: evil},
        environment={"E": evil},
        algorithm_specification=AlgorithmSpecification(
            training_image="i",
            training_input_mode="File",
            metric_definitions=(MetricDefinition(name="loss", regex=evil),),
            container_arguments=(evil,),
        ),
        output_data_config=OutputDataConfig(s3_output_path=f"s3://m/{evil}"),
    )
    house.keep(make_job("a", status="Training", request=request, tags=(Tag(key=evil, value=evil),)))
    house.write("a/algo-1-1700000000", evil)
    for path in ("/jobs/a", "/jobs/a/logs", "/jobs/a/metrics", "/jobs"):
        text = house.get(path).text
        assert "<script>alert" not in text, path
    assert house.get("/jobs/a").text.count("&lt;script&gt;alert") >= 6
    assert "&lt;script&gt;alert" in house.get("/jobs/a/logs").text


def test_a_job_that_is_not_there_is_not_found(house):
    """By a name that could be one, and by what could not; open pages are told to load again."""
    for path in ("/jobs/none", "/jobs/-", "/jobs/a b", "/jobs/none/logs", "/jobs/none/metrics", "/jobs/none/delete"):
        assert house.get(path).status == 404, path
    answer = house.get("/jobs/none", format="json")
    assert (answer.status, answer.json["http_status"]) == (404, 404)
    live = house.get("/jobs/none", part="live", headers=[(b"hx-request", b"true")])
    assert (live.status, live.headers["hx-refresh"]) == (404, "true")


def test_a_job_is_stopped(house):
    """Once; a job that has ended refuses it, and the page says so."""
    house.keep(make_job("a", status="Training"), make_job("b", status="Completed"))
    answer = house.post("/jobs/a/stop")
    assert (answer.status, answer.headers["location"]) == (303, "/_clary/console/jobs/a")
    assert house.json("/jobs/a")["head"]["status"] == "Stopping"
    assert house.sagemaker.woken == ["a"]

    refused = house.post("/jobs/b/stop")
    assert refused.status == 400
    assert "training job is in status Completed" in refused.text


def test_a_job_is_deleted_after_a_question(house):
    """The list says so then; one that is under way cannot be."""
    house.keep(make_job("a", status="Completed", released=True), make_job("b", status="Training"))
    page = house.get("/jobs/a/delete")
    assert page.status == 200
    assert 'method="post"' in page.text
    house.clock.advance(10)
    answer = house.post("/jobs/a/delete")
    assert (answer.status, answer.headers["location"]) == (303, "/_clary/console/jobs?deleted=a")
    assert "The training job a has been deleted." in house.follow(answer.headers["location"]).text
    assert house.get("/jobs/a").status == 404

    assert house.get("/jobs/b/delete").status == 409
    assert house.post("/jobs/b/delete").status == 409


def test_trouble_of_ours_is_told_without_its_inside(house):
    """A page that says so, and a refusal of the service in the service's words."""

    async def broken(*_question):
        raise RuntimeError("a detail of ours")

    async def throttled(*_question):
        raise AwsError(code="ServiceUnavailable", message="Try again.", http_status=503)

    house.ask = broken
    answer = house.get("/jobs")
    assert answer.status == 500
    assert "a detail" not in answer.text
    house.ask = throttled
    assert (house.get("/jobs").status, "Try again." in house.get("/jobs").text) == (503, True)

"""What the controller decides, case by case. Excludes acting, and the store: see test_loop."""

import msgspec
import pytest

from clary.base.clock import Instant
from clary.compute.port import ABSENT, Observation
from clary.controller.decide import RENEW_BEFORE_MS, decide
from clary.controller.intents import Launch, Release, Renew, Tell
from clary.jobs import transitions
from clary.jobs.failure import client_error, internal_error
from clary.jobs.model import (
    AlgorithmSpecification,
    MetricData,
    MetricDefinition,
    OutputDataConfig,
    Program,
    ResourceConfig,
    RetryStrategy,
    TrainingJob,
    TrainingJobRequest,
)
from clary.jobs.status import Event, SecondaryStatus, TrainingJobStatus
from clary.jobs.task import Phase, ProgramEnd, Snapshot, StopReason, Wishes

CREATED = Instant(1_000_000)
NOW = Instant(1_100_000)
S = SecondaryStatus


def new_job(instance_count=1, **changes) -> TrainingJob:
    request = TrainingJobRequest(
        training_job_name="Job",
        algorithm_specification=AlgorithmSpecification(
            training_image="clary/python",
            training_input_mode="File",
            metric_definitions=(MetricDefinition(name="loss", regex="loss=(.*)"),),
        ),
        role_arn="arn:aws:iam::000000000000:role/r",
        output_data_config=OutputDataConfig(s3_output_path="s3://b/out"),
        resource_config=ResourceConfig(
            instance_type="ml.m5.xlarge", instance_count=instance_count, volume_size_in_gb=1
        ),
        **changes,
    )
    return transitions.create(request, training_job_arn="arn", program=Program(image="clary/python"), now=CREATED)


def launched(**kwargs) -> TrainingJob:
    return transitions.launch(new_job(**kwargs), message="Launching requested ML instances")


def seen(snapshot=None, *, alive=True, **more) -> Observation:
    return Observation(exists=True, alive=alive, snapshot=snapshot, **more)


def snapshot(**facts) -> Snapshot:
    return Snapshot(sequence=1, phase=Phase.TRAINING, **facts)


def ran(exit_code=0, *, until="finished_at", **facts) -> Snapshot:
    """A report of a program that ran, up to and including the moment `until`."""
    times = {"ready_at": 1_000_100, "staged_at": 1_000_200, "ended_at": 1_000_300, "finished_at": 1_000_400}
    kept = {}
    for name, at in times.items():
        kept[name] = Instant(at)
        if name == until:
            break
    if "ended_at" in kept:
        kept["program_end"] = ProgramEnd(exit_code=exit_code, failure_text=facts.pop("failure_text", ""))
    return snapshot(**kept, **facts)


def choose(job, **hosts):
    named = {host.replace("_", "-"): observation for host, observation in hosts.items()}
    return decide(job, named, now=NOW, may_launch=True)


def statuses(job):
    return [transition.status for transition in job.secondary_status_transitions]


def test_a_new_job_gets_its_attempt_written_before_its_instances_are_launched():
    decision = decide(new_job(instance_count=2), {}, now=NOW, may_launch=True)

    assert decision.job.attempt == 1
    assert decision.intents == (Launch(host="algo-1"), Launch(host="algo-2"))
    assert decision.job.secondary_status_transitions[-1].status_message == "Launching requested ML instances"


def test_a_job_without_room_waits_and_says_so():
    decision = decide(new_job(), {}, now=NOW, may_launch=False)

    assert decision.job.attempt == 0
    assert decision.intents == ()
    assert decision.job.secondary_status_transitions[-1].status_message == "Waiting for free ML instances"


def test_a_job_stopped_before_launch_ends_at_once_with_both_times():
    job = transitions.apply(new_job(), Event.STOP, at=NOW, reason=StopReason.STOP_TRAINING_JOB)

    decision = decide(job, {}, now=NOW, may_launch=True)

    assert decision.job.secondary_status is S.STOPPED
    assert decision.job.training_start_time == decision.job.training_end_time == NOW
    assert decision.intents == ()


@pytest.mark.parametrize("observation", [ABSENT, seen(None, alive=False), seen(ran(until="staged_at"), alive=False)])
def test_an_instance_that_is_missing_or_whose_program_died_is_launched_again(observation):
    decision = choose(launched(), algo_1=observation)

    assert Launch(host="algo-1") in decision.intents


def test_an_instance_that_runs_is_left_alone():
    assert choose(launched(), algo_1=seen(ran(until="ready_at"))).intents == ()


def test_a_controller_that_was_away_walks_through_all_that_happened_at_the_times_it_happened():
    job = choose(launched(), algo_1=seen(ran(s3_model_artifacts="s3://b/m"))).job

    assert statuses(job) == [S.STARTING, S.DOWNLOADING, S.TRAINING, S.UPLOADING, S.COMPLETED]
    assert [t.start_time for t in job.secondary_status_transitions] == [
        CREATED,
        1_000_100,
        1_000_200,
        1_000_300,
        1_000_400,
    ]
    assert job.training_start_time == 1_000_100
    assert job.training_end_time == 1_000_400
    assert job.s3_model_artifacts == "s3://b/m"


def test_a_status_waits_for_the_slowest_host():
    job = choose(
        launched(instance_count=2), algo_1=seen(ran(until="staged_at")), algo_2=seen(ran(until="ready_at"))
    ).job

    assert job.secondary_status is S.DOWNLOADING


def test_a_failed_program_goes_through_uploading():
    job = choose(launched(), algo_1=seen(ran(exit_code=3, failure_text="boom"))).job

    assert statuses(job) == [S.STARTING, S.DOWNLOADING, S.TRAINING, S.UPLOADING, S.FAILED]
    assert job.failure.reason == "AlgorithmError: boom, exit code: 3"


def test_a_download_that_fails_fails_the_job_without_training():
    report = snapshot(
        ready_at=Instant(1_000_100),
        ended_at=Instant(1_000_200),
        finished_at=Instant(1_000_200),
        failure=client_error("Data download failed:no"),
    )

    job = choose(launched(), algo_1=seen(report)).job

    assert statuses(job) == [S.STARTING, S.DOWNLOADING, S.FAILED]
    assert job.failure.reason == "ClientError: Data download failed:no"


def test_when_one_host_fails_the_others_are_stopped_and_the_failure_is_the_first_ones():
    job = launched(instance_count=2)
    failed, running = ran(exit_code=1, until="ended_at"), ran(until="staged_at")

    decision = choose(job, algo_1=seen(running), algo_2=seen(failed))

    assert decision.intents == (Tell(host="algo-1", wishes=Wishes(stop=StopReason.PEER_ENDED)),)

    stopped = ran(exit_code=143, stopping_at=Instant(1_000_310), stop_reason=StopReason.PEER_ENDED)
    ended = choose(decision.job, algo_1=seen(stopped), algo_2=seen(ran(exit_code=1))).job
    assert ended.failure.reason == "AlgorithmError: , exit code: 1"


def test_the_hosts_are_told_to_start_when_all_have_their_data():
    """One that has started already, and one that failed, are told nothing."""
    job = launched(instance_count=2)
    staging, there = ran(until="ready_at"), snapshot(ready_at=Instant(1), standing_by_at=Instant(2))
    start = Wishes(start=True)

    assert choose(job, algo_1=seen(there), algo_2=seen(staging)).intents == ()
    assert choose(job, algo_1=seen(there), algo_2=seen(there)).intents == (
        Tell(host="algo-1", wishes=start),
        Tell(host="algo-2", wishes=start),
    )
    assert (
        choose(job, algo_1=seen(there, wishes=start), algo_2=seen(ran(until="staged_at"), wishes=start)).intents == ()
    )
    assert choose(job, algo_1=seen(there), algo_2=seen(ran(until="staged_at"), wishes=start)).intents == (
        Tell(host="algo-1", wishes=start),
    )
    failed = snapshot(ready_at=Instant(1), ended_at=Instant(2), failure=client_error("no"))
    assert choose(job, algo_1=seen(there), algo_2=seen(failed)).intents == (
        Tell(host="algo-1", wishes=Wishes(stop=StopReason.PEER_ENDED)),
    )


def test_a_host_alone_is_not_told_to_start():
    assert choose(launched(), algo_1=seen(ran(until="ready_at"))).intents == ()


def test_the_leader_is_told_to_upload_when_all_hosts_have_ended():
    ended, running = ran(until="ended_at"), ran(until="staged_at")
    job = launched(instance_count=2)

    assert choose(job, algo_1=seen(ended), algo_2=seen(running)).intents == ()
    assert choose(job, algo_1=seen(ended), algo_2=seen(ran())).intents == (
        Tell(host="algo-1", wishes=Wishes(upload=True)),
    )


def test_a_wish_that_was_told_is_not_told_again():
    job = launched(instance_count=2)
    told = seen(ran(until="ended_at"), wishes=Wishes(upload=True))

    assert choose(job, algo_1=told, algo_2=seen(ran())).intents == ()


def test_a_stop_is_told_to_every_host_that_still_runs():
    job = choose(
        launched(instance_count=2), algo_1=seen(ran(until="staged_at")), algo_2=seen(ran(until="staged_at"))
    ).job
    job = transitions.apply(job, Event.STOP, at=NOW, reason=StopReason.STOP_TRAINING_JOB)

    decision = choose(job, algo_1=seen(ran(until="staged_at")), algo_2=seen(ran(until="ended_at")))

    assert decision.intents == (Tell(host="algo-1", wishes=Wishes(stop=StopReason.STOP_TRAINING_JOB)),)


def test_a_stopped_job_ends_stopped_whatever_its_exit_code():
    job = transitions.apply(launched(), Event.STOP, at=NOW, reason=StopReason.STOP_TRAINING_JOB)
    report = ran(exit_code=143, stopping_at=Instant(1_000_250), stop_reason=StopReason.STOP_TRAINING_JOB)

    job = choose(job, algo_1=seen(report)).job

    assert statuses(job) == [S.STARTING, S.STOPPING, S.STOPPED]
    assert job.training_job_status is TrainingJobStatus.STOPPED
    assert job.failure is None


def test_the_time_limit_ends_in_max_runtime_exceeded():
    report = ran(exit_code=143, stopping_at=Instant(1_000_250), stop_reason=StopReason.MAX_RUNTIME_EXCEEDED)

    job = choose(launched(), algo_1=seen(report)).job

    assert statuses(job) == [S.STARTING, S.DOWNLOADING, S.TRAINING, S.STOPPING, S.MAX_RUNTIME_EXCEEDED]
    assert job.secondary_status_transitions[3].start_time == 1_000_250


def test_a_stop_asked_for_before_the_time_limit_stays_a_stop():
    job = transitions.apply(launched(), Event.STOP, at=CREATED, reason=StopReason.STOP_TRAINING_JOB)
    report = ran(exit_code=143, stopping_at=Instant(1_000_250), stop_reason=StopReason.MAX_RUNTIME_EXCEEDED)

    assert choose(job, algo_1=seen(report)).job.secondary_status is S.STOPPED


def test_a_stopped_job_whose_model_could_not_be_uploaded_fails():
    job = transitions.apply(launched(), Event.STOP, at=NOW, reason=StopReason.STOP_TRAINING_JOB)
    report = ran(failure=client_error("Artifact upload failed:x"), stop_reason=StopReason.STOP_TRAINING_JOB)

    assert choose(job, algo_1=seen(report)).job.secondary_status is S.FAILED


def test_a_lost_program_begins_the_next_attempt_and_gives_the_old_instances_back():
    job = choose(launched(), algo_1=seen(ran(until="staged_at"))).job

    decision = choose(job, algo_1=seen(snapshot(lost=True, ready_at=Instant(1_000_100))))

    assert decision.job.attempt == 2
    assert decision.job.secondary_status is S.STARTING
    assert decision.intents == (Release(host="algo-1", attempt=1), Launch(host="algo-1"))


def test_a_program_that_is_lost_again_and_again_fails_the_job():
    job = msgspec.structs.replace(launched(), attempt=3)

    job = choose(job, algo_1=seen(snapshot(lost=True))).job

    assert job.secondary_status is S.FAILED
    assert job.failure.reason.startswith("InternalServerError: ")


def test_a_program_lost_while_stopping_ends_stopped():
    job = transitions.apply(launched(), Event.STOP, at=NOW, reason=StopReason.STOP_TRAINING_JOB)

    assert choose(job, algo_1=seen(snapshot(lost=True))).job.secondary_status is S.STOPPED


@pytest.mark.parametrize(("retries", "status"), [(1, S.STARTING), (None, S.FAILED)])
def test_an_internal_error_is_retried_only_with_a_retry_strategy(retries, status):
    strategy = RetryStrategy(maximum_retry_attempts=retries) if retries else None
    report = snapshot(ready_at=Instant(1_000_100), finished_at=Instant(1_000_200), failure=internal_error())

    assert choose(launched(retry_strategy=strategy), algo_1=seen(report)).job.secondary_status is status


def test_credentials_are_renewed_long_before_they_end():
    soon = seen(ran(until="staged_at"), grants_expire_at=Instant(NOW + RENEW_BEFORE_MS - 1))
    later = seen(ran(until="staged_at"), grants_expire_at=Instant(NOW + RENEW_BEFORE_MS + 1))

    assert choose(launched(), algo_1=soon).intents == (Renew(host="algo-1"),)
    assert choose(launched(), algo_1=later).intents == ()


def test_an_ended_job_gives_its_instances_back_and_is_then_done():
    job = choose(launched(), algo_1=seen(ran())).job

    first = choose(job, algo_1=seen(ran()))
    assert first.intents == (Release(host="algo-1"),)
    assert not first.job.released

    second = choose(job, algo_1=ABSENT)
    assert second.job.released
    assert second.intents == ()


def test_the_last_value_of_a_metric_over_all_hosts_is_kept():
    def metric(value, at):
        return (MetricData(metric_name="loss", value=value, timestamp=Instant(at)),)

    job = choose(
        launched(instance_count=2),
        algo_1=seen(ran(until="staged_at", metrics=metric(0.5, 20))),
        algo_2=seen(ran(until="staged_at", metrics=metric(0.7, 10))),
    ).job

    assert job.final_metric_data_list == metric(0.5, 20)


def test_progress_of_the_download_is_shown_in_the_status_message():
    job = choose(launched(), algo_1=seen(ran(until="ready_at", message="Downloading input data: 3 of 9 objects"))).job

    assert job.secondary_status_transitions[-1].status_message == "Downloading input data: 3 of 9 objects"


def test_the_image_that_was_pulled_is_recorded_once():
    """What the first host to have it says; no later report changes it."""
    job = choose(launched(instance_count=2), algo_1=seen(snapshot()), algo_2=seen(snapshot(image="r/a@sha256:1"))).job
    assert job.image_digest == "r/a@sha256:1"

    later = choose(job, algo_1=seen(snapshot(image="r/a@sha256:2")), algo_2=seen(snapshot(image="r/a@sha256:1"))).job
    assert later.image_digest == "r/a@sha256:1"


def test_the_next_attempt_knows_the_image_of_the_last():
    """Even if the report of the loss is the first that names it."""
    decision = choose(launched(), algo_1=seen(snapshot(lost=True, image="r/a@sha256:1")))

    assert (decision.job.attempt, decision.job.image_digest) == (2, "r/a@sha256:1")

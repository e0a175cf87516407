"""UpdateTrainingJob, DeleteTrainingJob and StopTrainingJob, and the table of Update's members."""

import asyncio

import pytest

from clary.aws.errors import ValidationException
from clary.jobs import transitions
from clary.jobs.status import STATUS_OF, SecondaryStatus
from clary.service.members import Effect
from clary.service.update_members import UPDATE_MEMBERS
from clary.store.faulty import Fault, FaultyStore
from clary.store.memory import MemoryStore
from clary.store.port import NoSuchJob, StaleVersion
from factories import NOW, STEPS, arn, make_job, make_request
from sagemaker_api import BOTOCORE, SageMaker, create_request, refusal

NOT_FOUND = ("ValidationException", "Requested resource not found.")
ENDED = ["Completed", "Failed", "Stopped", "MaxRuntimeExceeded"]
AT_WORK = [status for status in STEPS if status not in {*ENDED, "Stopping"}]


@pytest.fixture
def sagemaker():
    return SageMaker()


def rejected(status):
    return f"The request was rejected because the training job is in status {STATUS_OF[SecondaryStatus(status)]}."


def profiler(sagemaker, name="job"):
    return sagemaker("DescribeTrainingJob", TrainingJobName=name).get("ProfilerConfig")


class TestUpdate:
    @pytest.mark.parametrize("status", AT_WORK)
    def test_a_new_profiler_configuration_is_shown(self, sagemaker, status):
        """In every status of a job in progress."""
        sagemaker.keep(make_job("Job", status=status))
        sagemaker.clock.advance(3600)

        answer = sagemaker("UpdateTrainingJob", TrainingJobName="Job", ProfilerConfig={"DisableProfiler": True})

        assert answer == {"TrainingJobArn": arn("Job")}
        description = sagemaker("DescribeTrainingJob", TrainingJobName="Job")
        assert description["ProfilerConfig"] == {"DisableProfiler": True}
        assert description["SecondaryStatus"] == status
        assert description["LastModifiedTime"].timestamp() * 1000 == sagemaker.clock.now()

    def test_members_that_are_not_given_stay_what_they_were(self, sagemaker):
        config = {"S3OutputPath": "s3://b/o", "ProfilingIntervalInMilliseconds": 500}
        sagemaker("CreateTrainingJob", **create_request("job", ProfilerConfig=config))

        sagemaker("UpdateTrainingJob", TrainingJobName="job", ProfilerConfig={"DisableProfiler": True})
        sagemaker("UpdateTrainingJob", TrainingJobName="job", ProfilerConfig={"S3OutputPath": "s3://other"})

        assert profiler(sagemaker) == config | {"DisableProfiler": True, "S3OutputPath": "s3://other"}

    def test_an_interval_that_there_is_not_is_refused(self, sagemaker):
        sagemaker.keep(make_job("job"))

        config = {"ProfilingIntervalInMilliseconds": 300}
        code, message = refusal(sagemaker, "UpdateTrainingJob", TrainingJobName="job", ProfilerConfig=config)

        assert code == "ValidationException"
        assert "Value '300' at 'profilerConfig.profilingIntervalInMilliseconds'" in message
        assert profiler(sagemaker) is None

    def test_a_name_alone_is_refused_in_aws_s_words(self, sagemaker):
        sagemaker.keep(make_job("job"))

        assert refusal(sagemaker, "UpdateTrainingJob", TrainingJobName="job") == (
            "ValidationException",
            "Invalid UpdateTrainingJobRequest, the request cannot be empty",
        )

    @pytest.mark.parametrize(
        ("change", "where"),
        [
            ({"ResourceConfig": {"KeepAlivePeriodInSeconds": 60}}, "resourceConfig.keepAlivePeriodInSeconds"),
            ({"RemoteDebugConfig": {"EnableRemoteDebug": True}}, "remoteDebugConfig.enableRemoteDebug"),
            (
                {"ProfilerRuleConfigurations": [{"RuleConfigurationName": "r", "RuleEvaluatorImage": "i"}]},
                "profilerRuleConfigurations",
            ),
        ],
    )
    def test_a_member_that_would_be_ignored_is_refused_by_name(self, sagemaker, change, where):
        """Then nothing of the request is done."""
        sagemaker.keep(make_job("job"))

        code, message = refusal(
            sagemaker, "UpdateTrainingJob", TrainingJobName="job", ProfilerConfig={"DisableProfiler": True}, **change
        )

        assert code == "ValidationException"
        assert f"'{where}' is not supported: " in message
        assert profiler(sagemaker) is None

    @pytest.mark.parametrize(
        "change",
        [
            {"ResourceConfig": {"KeepAlivePeriodInSeconds": 0}},
            {"RemoteDebugConfig": {"EnableRemoteDebug": False}},
            {"RemoteDebugConfig": {}},
            {"ProfilerRuleConfigurations": []},
        ],
    )
    @pytest.mark.parametrize("status", STEPS)
    def test_a_value_that_changes_nothing_passes_and_changes_nothing(self, sagemaker, status, change):
        """There is no pool to end and no debugging to turn off."""
        sagemaker.keep(make_job("job", status=status))
        before = sagemaker("DescribeTrainingJob", TrainingJobName="job")
        sagemaker.clock.advance(60)

        assert sagemaker("UpdateTrainingJob", TrainingJobName="job", **change) == {"TrainingJobArn": arn("job")}
        assert sagemaker("DescribeTrainingJob", TrainingJobName="job") == before

    @pytest.mark.parametrize("status", [*ENDED, "Stopping"])
    def test_a_job_that_is_over_has_nothing_to_profile(self, sagemaker, status):
        sagemaker.keep(make_job("job", status=status))

        refused = refusal(
            sagemaker, "UpdateTrainingJob", TrainingJobName="job", ProfilerConfig={"DisableProfiler": True}
        )

        assert refused == ("ValidationException", rejected(status))

    @pytest.mark.parametrize(
        "change", [{"ProfilerConfig": {"DisableProfiler": True}}, {"RemoteDebugConfig": {"EnableRemoteDebug": False}}]
    )
    def test_a_job_that_is_not_there_is_not_found(self, sagemaker, change):
        assert refusal(sagemaker, "UpdateTrainingJob", TrainingJobName="job", **change) == NOT_FOUND

    def test_the_model_holds(self, sagemaker):
        sagemaker.keep(make_job("job"))

        code, message = refusal(
            sagemaker,
            "UpdateTrainingJob",
            TrainingJobName="job",
            ResourceConfig={"KeepAlivePeriodInSeconds": 21601},
            ProfilerConfig={"S3OutputPath": "ftp://b"},
        )

        assert code == "ValidationException"
        assert message.startswith("2 validation errors detected: ")
        assert "'resourceConfig.keepAlivePeriodInSeconds'" in message
        assert "'profilerConfig.s3OutputPath'" in message

    def test_a_write_of_the_controller_in_between_is_kept(self):
        inner = MemoryStore()
        store = FaultyStore(inner, [Fault(verb="commit", error=StaleVersion("job"), times=2)])
        sagemaker = SageMaker(store=store)
        asyncio.run(inner.create(make_job("job")))

        sagemaker("UpdateTrainingJob", TrainingJobName="job", ProfilerConfig={"DisableProfiler": True})

        assert [verb for verb, _ in store.calls] == ["get", "commit"] * 3
        assert profiler(sagemaker) == {"DisableProfiler": True}


class TestMembersOfUpdate:
    def leaves(self):
        """The members, and theirs; a map and a list is a leaf."""
        for name, member in BOTOCORE.operation_model("UpdateTrainingJob").input_shape.members.items():
            inner = member.members if member.type_name == "structure" else {}
            yield from (f"{name}.{each}" for each in inner)
            if not inner:
                yield name

    def test_every_member_of_the_model_is_covered_by_a_row(self):
        paths = [row.path for row in UPDATE_MEMBERS]

        assert [leaf for leaf in self.leaves() if leaf not in paths and leaf.split(".")[0] not in paths] == []
        assert len(set(paths)) == len(paths)

    def test_every_row_names_a_member_and_says_why(self):
        leaves = list(self.leaves())

        for row in UPDATE_MEMBERS:
            assert row.why
            assert row.path in leaves or any(leaf.startswith(row.path + ".") for leaf in leaves)

    def test_what_is_refused_is_refused_in_create_too(self, sagemaker):
        """Else a job could have what it cannot be told to stop."""
        for row in UPDATE_MEMBERS:
            if row.effect is Effect.REFUSED:
                first, _, rest = row.path.partition(".")
                value = {rest: 60 if "Period" in rest else True} if rest else [RULE]
                merged = create_request().get(first, {}) | value if rest else value
                with pytest.raises(ValidationException, match="is not supported"):
                    sagemaker("CreateTrainingJob", **create_request(**{first: merged}))


RULE = {"RuleConfigurationName": "r", "RuleEvaluatorImage": "i"}


class TestDelete:
    @pytest.mark.parametrize("status", ENDED)
    def test_an_ended_job_is_gone_when_delete_answers(self, sagemaker, status):
        """Nowhere is anything left of it, and its name is free, in any letter case."""
        sagemaker.keep(make_job("Job", status=status, released=True))

        assert sagemaker("DeleteTrainingJob", TrainingJobName="Job") == {}

        for operation in ("DescribeTrainingJob", "StopTrainingJob", "DeleteTrainingJob"):
            assert refusal(sagemaker, operation, TrainingJobName="Job") == NOT_FOUND
        assert sagemaker("ListTrainingJobs") == {"TrainingJobSummaries": []}
        sagemaker("CreateTrainingJob", **create_request("JOB"))
        assert sagemaker("DescribeTrainingJob", TrainingJobName="JOB")["TrainingJobStatus"] == "InProgress"

    @pytest.mark.parametrize("status", [*AT_WORK, "Stopping"])
    def test_a_job_at_work_is_in_use(self, sagemaker, status):
        sagemaker.keep(make_job("job", status=status))

        assert refusal(sagemaker, "DeleteTrainingJob", TrainingJobName="job") == ("ResourceInUse", rejected(status))
        assert sagemaker("DescribeTrainingJob", TrainingJobName="job")["SecondaryStatus"] == status

    def test_a_job_that_is_not_there_is_not_found(self, sagemaker):
        sagemaker.keep(make_job("Job", status="Completed", released=True))

        assert refusal(sagemaker, "DeleteTrainingJob", TrainingJobName="job") == NOT_FOUND
        assert len(sagemaker("ListTrainingJobs")["TrainingJobSummaries"]) == 1

    def test_instances_that_are_still_there_are_waited_for(self, sagemaker):
        """The controller is told at once, and once."""
        job = make_job("job", status="Completed")
        sagemaker.keep(job)

        async def release():
            await sagemaker.store.commit(transitions.release(await sagemaker.store.get("job")))

        tasks = []
        sagemaker.on_wake = lambda name: tasks.append(asyncio.ensure_future(release()))

        assert sagemaker("DeleteTrainingJob", TrainingJobName="job") == {}
        assert sagemaker.woken == ["job"]
        assert refusal(sagemaker, "DescribeTrainingJob", TrainingJobName="job") == NOT_FOUND

    @pytest.mark.parametrize(
        ("passed_s", "waits_s"), [(0, 0.75), (0.25, 0.5), (0.749, 0.001), (0.75, None), (60, None)]
    )
    def test_a_name_is_not_free_in_the_second_in_which_its_job_ended(self, sagemaker, monkeypatch, passed_s, waits_s):
        """Log streams carry that second: a later job must not write into one of the job before it."""
        ended_at = NOW + 250
        sagemaker.keep(make_job("job", status="Completed", released=True, training_end_time=ended_at))
        sagemaker.clock.advance(0.25 + passed_s)
        slept = []

        async def sleep(seconds):
            slept.append(seconds)

        monkeypatch.setattr("clary.service.training_job_changes.asyncio.sleep", sleep)

        sagemaker("DeleteTrainingJob", TrainingJobName="job")

        assert slept == ([] if waits_s is None else [waits_s])

    def test_instances_that_stay_keep_their_job_in_use(self):
        """Who tries again later finds it as it was."""
        sagemaker = SageMaker(release_patience_s=0.1)
        job = make_job("job", status="Failed")
        sagemaker.keep(job)

        code, message = refusal(sagemaker, "DeleteTrainingJob", TrainingJobName="job")

        assert code == "ResourceInUse"
        assert "still being released" in message
        assert asyncio.run(sagemaker.store.get("job")) == job

    @pytest.mark.parametrize("error", [StaleVersion("job"), NoSuchJob("job")])
    def test_a_write_in_between_is_seen_before_the_job_is_deleted(self, error):
        """Such as a tag: the delete is tried again on what is there now."""
        inner = MemoryStore()
        store = FaultyStore(inner, [Fault(verb="delete", error=error)])
        sagemaker = SageMaker(store=store)
        asyncio.run(inner.create(make_job("job", status="Completed", released=True)))

        assert sagemaker("DeleteTrainingJob", TrainingJobName="job") == {}
        assert [verb for verb, _ in store.calls] == ["get", "delete"] * 2

    def test_of_two_deletes_at_once_one_finds_nothing(self, sagemaker):
        sagemaker.keep(make_job("job", status="Completed", released=True))

        async def both():
            return await asyncio.gather(
                *(sagemaker.call("DeleteTrainingJob", TrainingJobName="job") for _ in range(2)), return_exceptions=True
            )

        outcomes = asyncio.run(both())

        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NoneType", "ValidationException"]

    def test_a_job_that_took_the_name_while_the_delete_waited_is_left_alone(self, sagemaker):
        """It is another job, at work."""
        first = make_job("job", status="Completed")
        sagemaker.keep(first)

        async def replace():
            await sagemaker.store.delete(first)
            await sagemaker.store.create(make_job("job", at=first.creation_time + 1))

        tasks = []
        sagemaker.on_wake = lambda name: tasks.append(asyncio.ensure_future(replace()))

        assert refusal(sagemaker, "DeleteTrainingJob", TrainingJobName="job") == ("ResourceInUse", rejected("Starting"))

    def test_a_late_write_of_the_controller_does_not_bring_a_job_back(self, sagemaker):
        """It may have read the job before it was deleted, and its name may be in use again."""
        sagemaker.keep(make_job("job", status="Completed", released=True))
        late = asyncio.run(sagemaker.store.get("job"))
        sagemaker("DeleteTrainingJob", TrainingJobName="job")

        with pytest.raises(NoSuchJob):
            asyncio.run(sagemaker.store.commit(late))
        sagemaker.clock.advance(1)
        sagemaker("CreateTrainingJob", **create_request("job"))
        with pytest.raises(StaleVersion):
            asyncio.run(sagemaker.store.commit(late))


class TestStop:
    @pytest.mark.parametrize("status", AT_WORK)
    def test_a_job_at_work_is_stopping_at_once_and_the_controller_knows(self, sagemaker, status):
        sagemaker.keep(make_job("job", status=status))

        assert sagemaker("StopTrainingJob", TrainingJobName="job") == {}

        description = sagemaker("DescribeTrainingJob", TrainingJobName="job")
        assert (description["TrainingJobStatus"], description["SecondaryStatus"]) == ("Stopping", "Stopping")
        assert sagemaker.woken == ["job"]

    def test_a_job_that_is_stopping_is_stopped_once(self, sagemaker):
        sagemaker.keep(make_job("job", request=make_request("job"), status="Stopping"))
        before = sagemaker("DescribeTrainingJob", TrainingJobName="job")

        assert sagemaker("StopTrainingJob", TrainingJobName="job") == {}
        assert sagemaker("DescribeTrainingJob", TrainingJobName="job") == before

    @pytest.mark.parametrize("status", ENDED)
    def test_an_ended_job_is_not_stopped(self, sagemaker, status):
        sagemaker.keep(make_job("job", status=status))

        assert refusal(sagemaker, "StopTrainingJob", TrainingJobName="job") == (
            "ValidationException",
            rejected(status),
        )

    def test_a_job_that_is_not_there_is_not_found(self, sagemaker):
        assert refusal(sagemaker, "StopTrainingJob", TrainingJobName="job") == NOT_FOUND

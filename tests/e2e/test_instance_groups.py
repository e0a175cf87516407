"""A job of two instance groups, from create to artifacts, through unmodified boto3 clients, on each runtime."""

import json

import pytest
from botocore.exceptions import ClientError

from each_runtime import EACH_RUNTIME
from server import new_name

pytest_plugins = ["server"]
pytestmark = pytest.mark.parametrize("server", EACH_RUNTIME, indirect=True)

PROGRAM = """
import json, os
root = "/opt/ml"
resources = open(f"{root}/input/config/resourceconfig.json").read()
me = json.loads(resources)["current_host"]
print("resources", resources)
print("inputs", sorted(json.load(open(f"{root}/input/config/inputdataconfig.json"))))
print("channels", sorted(os.listdir(f"{root}/input/data")))
train = f"{root}/input/data/train"
shard = sorted(os.listdir(train)) if os.path.isdir(train) else ["none"]
os.makedirs(f"{root}/output/data/{me}")
for path in (f"{root}/model/{me}", f"{root}/output/data/{me}/shard"):
    open(path, "w").write(" ".join(shard))
print("interface", os.environ["DMLC_INTERFACE"])
"""
XGBOOST = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"
GROUPS = [
    {"InstanceGroupName": "loaders", "InstanceType": "ml.c5.xlarge", "InstanceCount": 1},
    {"InstanceGroupName": "trainers", "InstanceType": "ml.m5.large", "InstanceCount": 2},
]


def request_of(server, bucket, name, **changes):
    """A job of both groups, of which the trainers alone get the channel `train`, dealt out among them."""
    sharded = {"S3DataDistributionType": "ShardedByS3Key", "InstanceGroupNames": ["trainers"]}
    request = server.job(name, bucket, program=PROGRAM, channels=[("train", f"s3://{bucket}/in/", sharded)])
    code = request["InputDataConfig"][-1]["DataSource"]["S3DataSource"]
    code["InstanceGroupNames"] = ["trainers", "loaders"]
    request["ResourceConfig"] = {"InstanceGroups": GROUPS, "VolumeSizeInGB": 1} | changes
    return request


@pytest.fixture(scope="module")
def bucket(server):
    name = server.bucket()
    for number in range(5):
        server.client("s3").put_object(Bucket=name, Key=f"in/{number}", Body=b"x")
    return name


@pytest.fixture(scope="module")
def completed(server, bucket):
    name = new_name("groups")
    server.client("sagemaker").create_training_job(**request_of(server, bucket, name))
    description = server.end(name)
    assert description["TrainingJobStatus"] == "Completed", description.get("FailureReason")
    return description


def said(server, description, host):
    """What each line of a host's log says, by its first word."""
    lines = server.lines(description["TrainingJobName"], host)
    return {line.partition(" ")[0]: line.partition(" ")[2] for line in lines}


@pytest.mark.parametrize(
    ("host", "instance_type", "group"),
    [
        ("algo-1", "ml.c5.xlarge", "loaders"),
        ("algo-2", "ml.m5.large", "trainers"),
        ("algo-3", "ml.m5.large", "trainers"),
    ],
)
def test_each_host_reads_its_own_group_and_all_others(server, completed, host, instance_type, group):
    seen = said(server, completed, host)

    assert seen["resources"] == json.dumps(
        {
            "current_host": host,
            "current_instance_type": instance_type,
            "current_group_name": group,
            "hosts": ["algo-1", "algo-2", "algo-3"],
            "instance_groups": [
                {"instance_group_name": "loaders", "instance_type": "ml.c5.xlarge", "hosts": ["algo-1"]},
                {"instance_group_name": "trainers", "instance_type": "ml.m5.large", "hosts": ["algo-2", "algo-3"]},
            ],
            "network_interface_name": server.runtime.network_interface,
            "topology": None,
        },
        separators=(",", ":"),
    )
    assert seen["interface"] == server.runtime.network_interface


def test_a_channel_reaches_its_groups_alone(server, completed):
    """Elsewhere neither its directory nor its entry in inputdataconfig.json is there."""
    everywhere = {host: said(server, completed, host) for host in ("algo-1", "algo-2", "algo-3")}

    assert {host: seen["inputs"] for host, seen in everywhere.items()} == {
        "algo-1": "['code']",
        "algo-2": "['code', 'train']",
        "algo-3": "['code', 'train']",
    }
    assert everywhere["algo-1"]["channels"] == "['code', 'code-manifest']"
    assert "'train', 'train-manifest'" in everywhere["algo-2"]["channels"]


def test_artifacts_of_all_groups_are_merged(server, completed):
    """The objects of the sharded channel were dealt out among the hosts that get it."""
    shards = {"algo-1": b"none", "algo-2": b"0 2 4", "algo-3": b"1 3"}
    model = completed["ModelArtifacts"]["S3ModelArtifacts"]

    assert server.files(model) == shards
    output = server.files(model.replace("model.tar.gz", "output.tar.gz"))
    assert output == {f"{host}/shard": shard for host, shard in shards.items()}


def test_the_job_is_described_and_found_by_its_groups(server, completed):
    name = completed["TrainingJobName"]
    wanted = {
        "NestedPropertyName": "ResourceConfig.InstanceGroups",
        "Filters": [
            {"Name": "ResourceConfig.InstanceGroups.InstanceGroupName", "Value": "trainers"},
            {"Name": "ResourceConfig.InstanceGroups.InstanceCount", "Operator": "Equals", "Value": "2"},
        ],
    }
    results = server.client("sagemaker").search(
        Resource="TrainingJob",
        SearchExpression={"NestedFilters": [wanted], "Filters": [{"Name": "TrainingJobName", "Value": name}]},
    )["Results"]

    assert [result["TrainingJob"]["TrainingJobName"] for result in results] == [name]
    for shown in (completed, results[0]["TrainingJob"]):
        assert shown["ResourceConfig"] == {"InstanceGroups": GROUPS, "InstanceCount": 0, "VolumeSizeInGB": 1}
        assert shown["InputDataConfig"][0]["DataSource"]["S3DataSource"]["InstanceGroupNames"] == ["trainers"]


def test_groups_beside_a_type_are_refused(server, bucket):
    request = request_of(server, bucket, new_name("both"), InstanceType="ml.m5.large")

    with pytest.raises(ClientError, match="InstanceType or InstanceCount cannot be specified with InstanceGroups"):
        server.client("sagemaker").create_training_job(**request)


def test_a_built_in_algorithm_misses_its_channel_on_the_other_group(server, bucket):
    """The host that fails ends the job; the other one, which waits for it to connect, is stopped."""
    name = new_name("missing")
    request = request_of(server, bucket, name)
    request["AlgorithmSpecification"] = {"TrainingImage": XGBOOST, "TrainingInputMode": "File"}
    request["HyperParameters"] = {"num_round": "1"}
    request["InputDataConfig"] = request["InputDataConfig"][:1]
    server.client("sagemaker").create_training_job(**request)

    description = server.end(name)

    assert description["FailureReason"] == "AlgorithmError: Missing required channel: train, exit code: 2"

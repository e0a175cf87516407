"""What the types of ML instances have."""

import botocore.session
import pytest

from clary.jobs.instance_types import InstanceType, instance_type

UNKNOWN: dict[str, str] = {}
"""Types of the API model that are not known here, and why."""

EC2 = """
m4.xlarge 4 16 0 ebs
m4.16xlarge 64 256 0 ebs
g4dn.xlarge 4 16 1 nvme
g4dn.2xlarge 8 32 1 nvme
g4dn.4xlarge 16 64 1 nvme
g4dn.8xlarge 32 128 1 nvme
g4dn.12xlarge 48 192 4 nvme
g4dn.16xlarge 64 256 1 nvme
m5.large 2 8 0 ebs
m5.24xlarge 96 384 0 ebs
c4.xlarge 4 7.5 0 ebs
c4.2xlarge 8 15 0 ebs
c4.4xlarge 16 30 0 ebs
c4.8xlarge 36 60 0 ebs
p3dn.24xlarge 96 768 8 nvme
p4d.24xlarge 96 1152 8 nvme
p4de.24xlarge 96 1152 8 nvme
p5.48xlarge 192 2048 8 nvme
p5.4xlarge 16 256 1 nvme
p5e.48xlarge 192 2048 8 nvme
p5en.48xlarge 192 2048 8 nvme
c5.xlarge 4 8 0 ebs
c5.18xlarge 72 144 0 ebs
c5n.xlarge 4 10.5 0 ebs
c5n.2xlarge 8 21 0 ebs
c5n.4xlarge 16 42 0 ebs
c5n.9xlarge 36 96 0 ebs
c5n.18xlarge 72 192 0 ebs
g5.xlarge 4 16 1 nvme
g5.2xlarge 8 32 1 nvme
g5.4xlarge 16 64 1 nvme
g5.8xlarge 32 128 1 nvme
g5.16xlarge 64 256 1 nvme
g5.12xlarge 48 192 4 nvme
g5.24xlarge 96 384 4 nvme
g5.48xlarge 192 768 8 nvme
g6.xlarge 4 16 1 nvme
g6.2xlarge 8 32 1 nvme
g6.4xlarge 16 64 1 nvme
g6.8xlarge 32 128 1 nvme
g6.16xlarge 64 256 1 nvme
g6.12xlarge 48 192 4 nvme
g6.24xlarge 96 384 4 nvme
g6.48xlarge 192 768 8 nvme
g6e.xlarge 4 32 1 nvme
g6e.2xlarge 8 64 1 nvme
g6e.4xlarge 16 128 1 nvme
g6e.8xlarge 32 256 1 nvme
g6e.16xlarge 64 512 1 nvme
g6e.12xlarge 48 384 4 nvme
g6e.24xlarge 96 768 4 nvme
g6e.48xlarge 192 1536 8 nvme
trn1.2xlarge 8 32 0 nvme
trn1.32xlarge 128 512 0 nvme
trn1n.32xlarge 128 512 0 nvme
trn2.48xlarge 192 2048 0 nvme
m6i.large 2 8 0 ebs
m6i.32xlarge 128 512 0 ebs
c6i.xlarge 4 8 0 ebs
c6i.32xlarge 128 256 0 ebs
r5d.large 2 16 0 nvme
r5d.24xlarge 96 768 0 nvme
t3.medium 2 4 0 ebs
t3.large 2 8 0 ebs
t3.xlarge 4 16 0 ebs
t3.2xlarge 8 32 0 ebs
r5.large 2 16 0 ebs
r5.24xlarge 96 768 0 ebs
p6-b200.48xlarge 192 2048 8 nvme
m7i.large 2 8 0 ebs
m7i.48xlarge 192 768 0 ebs
c7i.large 2 4 0 ebs
c7i.48xlarge 192 384 0 ebs
r7i.large 2 16 0 ebs
r7i.48xlarge 192 1536 0 ebs
p6-b300.48xlarge 192 4096 8 nvme
g7e.2xlarge 8 64 1 nvme
g7e.4xlarge 16 128 1 nvme
g7e.8xlarge 32 256 1 nvme
g7e.12xlarge 48 512 2 nvme
g7e.24xlarge 96 1024 4 nvme
g7e.48xlarge 192 2048 8 nvme
g7.2xlarge 8 32 1 nvme
g7.4xlarge 16 64 1 nvme
g7.8xlarge 32 128 1 nvme
g7.12xlarge 48 192 2 nvme
g7.24xlarge 96 384 4 nvme
g7.48xlarge 192 768 8 nvme
r6i.large 2 16 0 ebs
r6i.32xlarge 128 1024 0 ebs
m8i.large 2 8 0 ebs
m8i.96xlarge 384 1536 0 ebs
c8i.xlarge 4 8 0 ebs
c8i.96xlarge 384 768 0 ebs
r8i.large 2 16 0 ebs
r8i.96xlarge 384 3072 0 ebs
m7i-flex.large 2 8 0 ebs
m7i-flex.16xlarge 64 256 0 ebs
c7i-flex.xlarge 4 8 0 ebs
c7i-flex.16xlarge 64 128 0 ebs
m8i-flex.large 2 8 0 ebs
m8i-flex.16xlarge 64 256 0 ebs
c8i-flex.xlarge 4 8 0 ebs
c8i-flex.16xlarge 64 128 0 ebs
r8i-flex.large 2 16 0 ebs
r8i-flex.16xlarge 64 512 0 ebs
p2.xlarge 4 61 1 ebs
p2.8xlarge 32 488 8 ebs
p2.16xlarge 64 732 16 ebs
p3.2xlarge 8 61 1 ebs
p3.8xlarge 32 244 4 ebs
p3.16xlarge 64 488 8 ebs
p6e-gb200.36xlarge 144 960 4 nvme
"""
"""Name, vCPUs, GiB, GPUs and storage: the ends of every family, and all types that a rule for theirs would miss."""

MODEL = botocore.session.get_session().get_service_model("sagemaker")
TYPES = MODEL.shape_for("TrainingInstanceType").enum


@pytest.mark.parametrize("name", TYPES)
def test_every_type_of_the_api_model_is_known(name):
    """Or it is written down why not."""
    assert (instance_type(name) is None) == (name in UNKNOWN)


@pytest.mark.parametrize("row", EC2.strip().splitlines())
def test_they_are_as_ec2_says(row):
    """Processors, memory, GPUs and storage."""
    name, vcpus, gib, gpus, storage = row.split()
    assert instance_type(f"ml.{name}") == InstanceType(
        vcpus=int(vcpus), memory_bytes=int(float(gib) * 2**30), gpus=int(gpus), local_storage=storage == "nvme"
    )


@pytest.mark.parametrize("name", ["", "ml.", "ml.zz9.large", "ml.m5", "ml.m5.huge", "ml.m5.metal", "local"])
def test_others_have_no_limits(name):
    """A family or a size that nobody has heard of is no error."""
    assert instance_type(name) is None

"""The hosts of a job on their private network: among themselves, and cut off where the job wants it so."""

import ipaddress
import socket
from urllib.parse import urlsplit

import pytest

from container_images import client
from each_runtime import IN_CONTAINERS
from server import new_name

pytest_plugins = ["server"]
pytestmark = pytest.mark.parametrize("server", IN_CONTAINERS, indirect=True)

# Each host listens on the same port of all its addresses, greets every peer by the name of the job, and knocks at the
# machine's own door.
MEETS_AND_KNOCKS = """
import json, os, socket, time
config = json.load(open("/opt/ml/input/config/resourceconfig.json"))
me, job = config["current_host"], os.environ["TRAINING_JOB_NAME"]
peers = [host for host in config["hosts"] if host != me]
listener = socket.create_server(("", 7777))

def reach(host, port, patience_s):
    until = time.monotonic() + patience_s
    while True:
        try:
            return socket.create_connection((host, port), timeout=2)
        except OSError:
            if time.monotonic() > until:
                return None
            time.sleep(0.05)

for peer in peers:
    with reach(peer, 7777, 60) as talk:
        talk.sendall(f"{me} of {job}".encode())
for _ in peers:
    talk, _ = listener.accept()
    print("met", talk.makefile().read())
print("interface", config["network_interface_name"] in [name for _, name in socket.if_nameindex()])
door = reach(*os.environ["DOOR"].rsplit(":", 1), 0)
print("door", "open" if door else "closed")
if not door:
    try:
        socket.getaddrinfo("example.com", 80)
        print("names resolved")
    except OSError:
        print("names unknown")
shard = sorted(os.listdir("/opt/ml/input/data/train"))
open(f"/opt/ml/model/{me}", "w").write(" ".join(shard))
os.makedirs("/opt/ml/output/data", exist_ok=True)
open(f"/opt/ml/output/data/{me}", "w").write("done")
"""


# Knocks at ports of the machine, by the two addresses of it that a container knows.
KNOCKS = """
import os, socket
with open("/proc/net/route") as table:
    routes = [line.split() for line in table]
gateway = next(bytes.fromhex(way[2])[::-1] for way in routes if way[1] == "00000000")
for address in (socket.inet_ntoa(gateway), os.environ["BRIDGE"]):
    for name in ("DOOR", "API", "STORE"):
        try:
            socket.create_connection((address, int(os.environ[name])), timeout=60).close()
            print(name, "open")
        except ConnectionRefusedError:
            print(name, "refused")
"""


@pytest.fixture
def door():
    """An address of this machine that its containers see, with somebody who listens there."""
    with client() as engine:
        subnet = engine.inspect_network("bridge")["IPAM"]["Config"][0]["Subnet"]
    with socket.create_server(("0.0.0.0", 0)) as listener:
        yield f"{next(ipaddress.ip_network(subnet).hosts())}:{listener.getsockname()[1]}"


def test_two_jobs_with_the_same_host_names_one_of_them_isolated(server, door):
    """Each meets its own peers; the isolated one reaches nobody else, and its data, logs and artifacts flow all the same."""
    bucket = server.bucket()
    for number in range(4):
        server.client("s3").put_object(Bucket=bucket, Key=f"in/{number}", Body=b"x")
    names = {isolated: new_name("isolated" if isolated else "open") for isolated in (True, False)}
    for isolated, name in names.items():
        request = server.job(
            name,
            bucket,
            program=MEETS_AND_KNOCKS,
            channels=[("train", f"s3://{bucket}/in/", {"S3DataDistributionType": "ShardedByS3Key"})],
            ResourceConfig={"InstanceCount": 2},
            EnableNetworkIsolation=isolated,
            Environment={"DOOR": door},
        )
        server.client("sagemaker").create_training_job(**request)

    for isolated, name in names.items():
        description = server.end(name)
        assert description["TrainingJobStatus"] == "Completed", description.get("FailureReason")
        for host, peer in (("algo-1", "algo-2"), ("algo-2", "algo-1")):
            lines = server.lines(name, host)
            assert lines[:3] == [f"met {peer} of {name}", "interface True", f"door {'closed' if isolated else 'open'}"]
            assert "names unknown" in lines or not isolated
        assert server.model(description) == {"algo-1": b"0 2", "algo-2": b"1 3"}
        output = description["ModelArtifacts"]["S3ModelArtifacts"].replace("model.tar.gz", "output.tar.gz")
        assert server.files(output) == {"algo-1": b"done", "algo-2": b"done"}


def test_what_listens_on_the_loopback_is_out_of_reach(server, door):
    """A job that is not isolated reaches what listens on all addresses of the machine, but not Clary or its store, which
    by default listen on the loopback.
    """
    exports = server.environment("--direct-s3")
    api, store = (urlsplit(exports[name]) for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"))
    assert api.port != store.port
    for port in (api.port, store.port):  # they are there for who is on the machine
        socket.create_connection(("127.0.0.1", port), timeout=60).close()
    bridge, at = door.rsplit(":", 1)
    knocks = {"BRIDGE": bridge, "DOOR": at, "API": str(api.port), "STORE": str(store.port)}
    name = new_name("knocks")
    description = server.run(name, server.bucket(), program=KNOCKS, Environment=knocks)

    assert description["TrainingJobStatus"] == "Completed", description.get("FailureReason")
    assert server.lines(name) == ["DOOR open", "API refused", "STORE refused"] * 2

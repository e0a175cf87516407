"""Epochs of Pipe mode channels against a model of them that is simple enough to be seen to be right.

The model knows nothing of blocks, requests, read-ahead and listings: a channel is a list of entries, an entry is a list of
values, and an epoch is what becomes of them one by one. Random trees of keys, all settings, all hosts.
"""

import gzip
import io
import json
import struct
import tempfile
from collections import Counter
from pathlib import Path

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clary.base.clock import FixedClock, Instant
from clary.base.telemetry import get_logger
from clary.instance.grants import Grants
from clary.instance.pipe_plan import look_up
from clary.instance.pipes import Pipes, plan_file
from clary.jobs.instance_files import InstanceFiles
from clary.jobs.model import Channel, DataSource, S3DataSource, ShuffleConfig
from clary.jobs.task import HostGroup, StorageGrant
from clary.storage.directory import DirectoryStorage
from unit.instance.scenes import make_task

PREFIX = "in/da"
HOSTS = ("algo-1", "algo-2", "algo-3", "algo-4")
GROUPS = (
    HostGroup(instance_group_name="a", instance_type="ml.m5.large", hosts=HOSTS[:1]),
    HostGroup(instance_group_name="b", instance_type="ml.m5.large", hosts=HOSTS[1:]),
)

# Whatever a key may hold: partial prefixes, folders and their markers, dots, spaces, letters of all lengths in UTF-8.
names = st.lists(
    st.sampled_from(["ta", "ta/", "/", "a", "B", "b/c", "..", " ", "ü", "𝄞", "語/", "-2/x", "?", "*", "%2F", "\\"]),
    min_size=1,
    max_size=4,
).map("".join)
bodies = st.one_of(st.just(b""), st.binary(max_size=30), st.integers(0, 255).map(lambda n: bytes([n]) * 70_000))
trees = st.dictionaries(names, bodies, min_size=1, max_size=12)


def framed(payload):
    return struct.pack("<II", 0xCED7230A, len(payload)) + payload + bytes(-len(payload) % 4)


def split(data):
    """The records of a stream."""
    source = io.BytesIO(data)
    while header := source.read(8):
        length = struct.unpack("<II", header)[1]
        yield source.read(length)
        source.read(-length % 4)


class Host:
    """What one host's pipes send."""

    def __init__(self, root, name, channel, storage):
        self.name = name
        self.channel = channel
        files = InstanceFiles(root / name)
        files.staging.mkdir(parents=True)
        keys = {"access_key_id": "A", "secret_access_key": "S", "session_token": "", "expiration": Instant(1 << 50)}
        grants = [StorageGrant(access="read", bucket="data", prefix="", **keys)]
        files.grants.write_bytes(msgspec.json.encode(grants))
        clock = FixedClock()
        self.pipes = Pipes(
            task=make_task(host=name, hosts=HOSTS, channels=(channel,), instance_groups=GROUPS),
            files=files,
            storage_for=lambda _access, _location: storage,
            grants=Grants(files.grants, clock),
            clock=clock,
            wake=lambda: None,
            log=get_logger("test"),
        )
        look_up(channel.s3, lambda _access, _location: storage, plan_file(files, channel.channel_name))

    def epoch(self, number):
        return b"".join(map(bytes, self.pipes.blocks(self.channel, self.channel.s3, number)))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=80)
@given(
    tree=trees,
    kind=st.sampled_from(["S3Prefix", "ManifestFile", "AugmentedManifestFile"]),
    sharded=st.booleans(),
    groups=st.sampled_from([(), ("b",)]),
    seed=st.none() | st.integers(-(1 << 63), (1 << 63) - 1),
    gunzip=st.booleans(),
    recordio=st.booleans(),
    data=st.data(),
)
def test_every_epoch_is_that_of_the_model(tree, kind, sharded, groups, seed, gunzip, recordio, data):
    """In order where nothing is shuffled; shuffled, the hosts together are sent each entry once, in a reproducible order."""
    objects = {PREFIX + name: body for name, body in tree.items()}
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        storage = DirectoryStorage(root / "s3")
        storage.create_bucket("data")
        for key, body in objects.items():
            storage.put("data", key, gzip.compress(body) if gunzip and body else body)
        storage.put("data", "in/other", b"is nobody's")
        uri, entries, attributes = channel_of(kind, objects, storage, data)
        if not entries:
            return
        channel = Channel(
            channel_name="c",
            input_mode="Pipe",
            data_source=DataSource(
                s3_data_source=S3DataSource(
                    s3_data_type=kind,
                    s3_uri=uri,
                    s3_data_distribution_type="ShardedByS3Key" if sharded else None,
                    attribute_names=attributes,
                    instance_group_names=groups,
                )
            ),
            compression_type="Gzip" if gunzip else None,
            record_wrapper_type="RecordIO" if recordio else None,
            shuffle_config=None if seed is None else ShuffleConfig(seed=seed),
        )
        with_it = HOSTS[1:] if groups else HOSTS
        hosts = [Host(root, name, channel, storage) for name in with_it]
        check(hosts, entries, sharded=sharded, seed=seed, recordio=recordio)


def channel_of(kind, objects, storage, data):
    """The URI of a channel over the objects, what it sends, and the names of its attributes."""
    if kind == "S3Prefix":
        listed = sorted(objects, key=str.encode)
        return f"s3://data/{PREFIX}", [[objects[key]] for key in listed if objects[key] or not key.endswith("/")], ()
    named = data.draw(st.lists(st.sampled_from(sorted(objects)), min_size=1, max_size=8))
    if kind == "ManifestFile":
        document = [{"prefix": f"s3://data/{PREFIX}"}, *(key.removeprefix(PREFIX) for key in named)]
        storage.put("data", "manifest", json.dumps(document).encode())
        return "s3://data/manifest", [[objects[key]] for key in named], ()
    granted = [key for key in named if not set(key) & set("*?")] or []
    lines, entries = [], []
    for number, key in enumerate(granted):
        text = data.draw(st.text(st.characters(exclude_categories=("Cs",)), max_size=5))
        lines.append(json.dumps({"label": text, "n": number, "image-ref": f"s3://data/{key}", "unused": None}))
        entries.append([str(number).encode(), objects[key], text.encode()])
    storage.put("data", "manifest", "\n".join(lines).encode())
    return "s3://data/manifest", entries, ("n", "image-ref", "label")


def check(hosts, entries, *, sharded, seed, recordio):
    """Two epochs of all hosts."""

    def sent(chosen):
        return b"".join((framed(value) if recordio else value) for entry in chosen for value in entry)

    for number in (0, 1):
        epochs = [host.epoch(number) for host in hosts]
        if seed is None:
            shares = [entries[n :: len(hosts)] if sharded else entries for n in range(len(hosts))]
            assert epochs == [sent(share) for share in shares]
            continue
        assert epochs == [host.epoch(number) for host in hosts]  # from the seed alone
        if not sharded:
            assert len(set(epochs)) == 1
        dealt = epochs if sharded else epochs[:1]
        assert sum(map(len, dealt)) == len(sent(entries))
        if recordio:
            values = [value for epoch in dealt for value in split(epoch)]
            assert Counter(values) == Counter(value for entry in entries for value in entry)
            width = len(entries[0])
            lines = {tuple(entry) for entry in entries}
            for epoch in dealt:  # a line of an augmented manifest stays in one piece
                found = list(split(epoch))
                assert {tuple(found[n : n + width]) for n in range(0, len(found), width)} <= lines

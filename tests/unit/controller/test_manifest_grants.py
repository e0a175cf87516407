"""What a job may read beside its channels' own locations."""

import asyncio
import json

import pytest

from clary.controller.manifest_grants import ManifestGrants
from clary.controller.tasks import storage_grants
from clary.jobs.model import Channel, DataSource, FileSystemDataSource, S3DataSource
from clary.storage.directory import DirectoryStorage
from clary.storage.faulty import Fault, FaultyStorage
from clary.storage.port import StorageError, Unreachable
from clary.storage.session_policy import Grant
from factories import make_job, make_request

READ = {"access": "read", "bucket": "data"}


@pytest.fixture
def storage(tmp_path):
    storage = DirectoryStorage(tmp_path / "s3")
    storage.create_bucket("data")
    return storage


def job_with(*uris, kind="ManifestFile"):
    sources = [DataSource(s3_data_source=S3DataSource(s3_data_type=kind, s3_uri=uri)) for uri in uris]
    channels = [Channel(channel_name=f"c{n}", data_source=source) for n, source in enumerate(sources)]
    return make_job(request=make_request(input_data_config=tuple(channels)))


def granted(storage, job):
    return asyncio.run(ManifestGrants(storage).of(job))


def test_a_manifest_is_granted_exactly_and_its_prefix_as_a_prefix(storage):
    """The object alone, and what it names; of two channels with one manifest the grant is one."""
    storage.put("data", "m.json", json.dumps([{"prefix": "s3://other/pool/"}, "a"]).encode())
    job = job_with("s3://data/m.json", "s3://data/m.json")
    own = [grant for grant in storage_grants(job) if grant.access == "read"]
    assert set(own) == {Grant(**READ, prefix="m.json", exact=True)}
    assert granted(storage, job) == (Grant(access="read", bucket="other", prefix="pool/"),)


def test_little_is_read_of_a_large_manifest(storage):
    """Its beginning, however many objects it names."""
    storage.put("data", "m", json.dumps([{"prefix": "s3://data/p/"}, *["x" * 1000] * 1000]).encode())
    seen = []

    class Counting(FaultyStorage):
        def get(self, *args, **options):
            block = super().get(*args, **options)
            seen.append(len(block))
            return block

    assert granted(Counting(storage), job_with("s3://data/m")) == (Grant(**READ, prefix="p/"),)
    assert sum(seen) <= 64 * 1024


@pytest.mark.parametrize("body", [b"", b"x", b"[]", b'[{"prefix": "s3://data/*"}, "x"]', None])
def test_a_manifest_without_sense_grants_nothing(storage, body):
    """What is wrong with it the instance will say."""
    if body is not None:
        storage.put("data", "m", body)
    assert granted(storage, job_with("s3://data/m")) == ()


@pytest.mark.parametrize("error", [Unreachable("gone"), StorageError("InternalError (500)", status=500)])
@pytest.mark.parametrize("verb", ["head", "get"])
def test_a_store_that_is_away_is_an_error(storage, verb, error):
    """Not a manifest without sense: the launch is to be tried again, not to go on without the grant."""
    storage.put("data", "m", b'[{"prefix": "s3://data/p/"}, "x"]')
    away = FaultyStorage(storage, [Fault(verb=verb, error=error)])
    with pytest.raises(StorageError):
        granted(away, job_with("s3://data/m"))
    assert granted(away, job_with("s3://data/m")) == (Grant(**READ, prefix="p/"),)


def test_other_channels_add_nothing(storage):
    """Prefixes are granted as they stand, file systems not at all."""
    job = job_with("s3://data/p/", kind="S3Prefix")
    source = FileSystemDataSource(
        file_system_id="fs-01234567", file_system_access_mode="ro", file_system_type="EFS", directory_path="/"
    )
    mounted = Channel(channel_name="f", data_source=DataSource(file_system_data_source=source))
    job = make_job(request=make_request(input_data_config=(*job.request.input_data_config, mounted)))
    assert granted(storage, job) == ()
    assert [grant for grant in storage_grants(job) if grant.access == "read"] == [Grant(**READ, prefix="p/")]

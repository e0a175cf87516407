"""What CreateTrainingJob looks up before it accepts a job: is there input, is there a place for the output.

Called by `training_jobs`. Requests run in threads, since the storage port blocks. A bucket that was seen is not asked for
again for a minute: the check is a kindness to the caller, the upload finds out for itself.
"""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from clary.aws.errors import AwsError, ValidationException
from clary.base.clock import Clock, Instant, later
from clary.base.telemetry import get_logger
from clary.jobs.model import Channel, S3DataSource, TrainingJobRequest
from clary.service.file_systems import FileSystems
from clary.storage.port import AccessDenied, NoSuchBucket, ObjectStorage, StorageError, Unreachable
from clary.storage.uri import parse_s3_uri

SEEN_FOR_S = 60.0

_log = get_logger("service")


class DataChecks:
    """Looks at S3, and at shared file systems, on behalf of a request. `no_fast_file` says why there is no input mode FastFile
    on this machine; it may take a moment.
    """

    def __init__(
        self,
        storage: ObjectStorage,
        *,
        clock: Clock,
        region: str,
        file_systems: Mapping[str, Path] | None = None,
        no_fast_file: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._storage = storage
        self._file_systems = FileSystems(file_systems or {})
        self._no_fast_file = no_fast_file
        self._clock = clock
        self._region = region
        self._seen: dict[str, Instant] = {}

    async def check(self, request: TrainingJobRequest) -> None:
        """Raise `ValidationException` for a channel without data or an bucket to write to that is not there."""
        try:
            await self._check_bucket("S3OutputPath", request.output_data_config.s3_output_path)
            if request.checkpoint_config is not None:
                await self._check_bucket("CheckpointConfig S3Uri", request.checkpoint_config.s3_uri)
            if request.input_data_config:
                await asyncio.gather(
                    *(self._check_channel(channel, request.role_arn) for channel in request.input_data_config)
                )
                mode = request.algorithm_specification.training_input_mode
                for channel in request.input_data_config:
                    if (channel.input_mode or mode) == "FastFile" and channel.s3 is not None:
                        await self._check_fast_file(channel.channel_name, channel.s3)
        except Unreachable as error:
            _log.error("storage unreachable", why=str(error))
            raise AwsError(
                code="ServiceUnavailable", message="The object storage does not answer.", http_status=503
            ) from None

    async def _check_channel(self, channel: Channel, role_arn: str) -> None:
        if channel.file_system is not None:
            await self._file_systems.check(channel, channel.file_system)
        if channel.s3 is not None:
            await self._check_objects(channel.s3, role_arn)

    async def _check_objects(self, source: S3DataSource, role_arn: str) -> None:
        """Of a manifest only that it is there: what it says is found out when the job reads it, as on SageMaker."""
        uri = source.s3_uri
        where = parse_s3_uri(uri)
        has = self._has_object if source.is_manifest else self._storage.has_objects
        try:
            found = await asyncio.to_thread(has, where.bucket, where.key)
        except (NoSuchBucket, AccessDenied):
            found = False
        if not found:
            # observed text; that a manifest which is not there gets it too is inferred
            raise ValidationException(
                f'No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that the bucket '
                f"exists in the selected region ({self._region}), that objects exist under that S3 prefix, and that the "
                f'role "{role_arn}" has "s3:ListBucket" permissions on bucket "{where.bucket}".'
            )

    async def _check_fast_file(self, channel_name: str, source: S3DataSource) -> None:
        """That such a channel can be had here, and that its prefix is a folder or an object. Source: the guide's page on
        access to training data: the prefix must not be a part of a folder's name. The texts are inferred.
        """
        why = await asyncio.to_thread(self._no_fast_file)
        if why is not None:
            raise ValidationException(
                f"Input channel '{channel_name}': there is no input mode FastFile on this machine: {why}."
            )
        where = parse_s3_uri(source.s3_uri)
        if where.key == "" or where.key.endswith("/"):
            return
        if await asyncio.to_thread(self._storage.has_objects, where.bucket, f"{where.key}/"):
            return
        if not await asyncio.to_thread(self._has_object, where.bucket, where.key):
            raise ValidationException(
                f"Input channel '{channel_name}': in the input mode FastFile the S3Uri must name a folder, not a part of a "
                f'name: there is no object "{where}" and none below "{where}/".'
            )

    def _has_object(self, bucket: str, key: str) -> bool:
        try:
            self._storage.head(bucket, key)
        except Unreachable:
            raise
        except StorageError:
            return False
        return True

    async def _check_bucket(self, member: str, uri: str) -> None:
        bucket = parse_s3_uri(uri).bucket
        now = self._clock.now()
        if self._seen.get(bucket, Instant(0)) > now:
            return
        try:
            exists = await asyncio.to_thread(self._storage.bucket_exists, bucket)
        except Unreachable:
            raise
        except StorageError:
            exists = False
        if not exists:
            raise ValidationException(  # (inferred)
                f'The bucket "{bucket}" of the {member} "{uri}" does not exist in the selected region ({self._region}).'
            )
        if len(self._seen) > 10_000:  # bucket names come from callers
            self._seen.clear()
        self._seen[bucket] = later(now, SEEN_FOR_S)

"""Rules of CreateTrainingJob about a channel: which source goes with which input mode.

Called by `rules`; pure. Source: API model, Channel, S3DataSource and FileSystemDataSource; texts are inferred.
"""

import re
from collections.abc import Sequence

from clary.aws.errors import ValidationException
from clary.jobs.model import Channel, FileSystemDataSource, S3DataSource

MODEL_CONTENT_TYPE = "application/x-sagemaker-model"
"""Of a channel that holds a trained model to go on from; by convention its name is "model". Source: the developer guide,
incremental training."""

_FIFO = re.compile(r"(.+)_(?:0|[1-9][0-9]*)", re.ASCII)


def check_fifo_names(channels: Sequence[Channel], input_mode: str) -> None:
    """Raise `ValidationException` where the directory of one channel and a FIFO of another would have one name (inferred).

    `input_mode` is that of channels without one of their own.
    """
    modes = {channel.channel_name: channel.input_mode or input_mode for channel in channels}
    for name, mode in modes.items():
        fifo = _FIFO.fullmatch(name)
        if mode != "Pipe" and fifo and modes.get(fifo[1]) == "Pipe":
            raise ValidationException(
                f"Input channel '{name}' cannot have this name: in the input mode Pipe it is an epoch of '{fifo[1]}'."
            )


def check_channel(channel: Channel, input_mode: str) -> None:
    """Raise `ValidationException` for a channel that makes no sense in its effective input mode."""
    about = f"Input channel '{channel.channel_name}'"
    if input_mode != "Pipe":
        for member, value in (
            ("CompressionType", channel.compression_type),
            ("RecordWrapperType", channel.record_wrapper_type),
        ):
            if value not in {None, "None"}:
                raise ValidationException(
                    f"{about}: {member} {value} is supported in the input mode Pipe only, not in {input_mode}."
                )
    if channel.content_type == MODEL_CONTENT_TYPE and input_mode != "File":
        raise ValidationException(
            f"{about}: the ContentType {MODEL_CONTENT_TYPE} needs the input mode File, not {input_mode}."
        )
    match channel.s3, channel.file_system:
        case None, None:
            raise ValidationException(f"{about} must have an S3DataSource or a FileSystemDataSource.")
        case S3DataSource() as s3, None:
            _check_s3(about, s3, input_mode)
        case None, FileSystemDataSource() as file_system:
            _check_file_system(about, file_system, input_mode)
        case _:
            raise ValidationException(f"{about} must not have both an S3DataSource and a FileSystemDataSource.")


def _check_s3(about: str, source: S3DataSource, input_mode: str) -> None:
    augmented = source.s3_data_type == "AugmentedManifestFile"
    if augmented != bool(source.attribute_names):
        raise ValidationException(
            f"{about}: AttributeNames must be given for the S3DataType AugmentedManifestFile, and for no other."
        )
    if augmented and input_mode != "Pipe":
        raise ValidationException(
            f"{about}: S3DataType AugmentedManifestFile is supported in the input mode Pipe only, not in {input_mode}."
        )
    if input_mode == "FastFile" and source.s3_data_type != "S3Prefix":
        raise ValidationException(
            f"{about}: the input mode FastFile supports the S3DataType S3Prefix only, not {source.s3_data_type}."
        )


def _check_file_system(about: str, source: FileSystemDataSource, input_mode: str) -> None:
    if input_mode != "File":
        raise ValidationException(f"{about}: a FileSystemDataSource needs the input mode File, not {input_mode}.")
    if "\0" in source.directory_path or ".." in source.directory_path.split("/"):
        raise ValidationException(f"{about}: a DirectoryPath must hold no NUL character and no part '..'.")

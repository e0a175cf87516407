"""The algorithm resource, typed: what CreateAlgorithm asked for, and what a training job may make of it.

Field names are the API model's members in snake case, as in `model`, and each struct encodes to the model's own spelling.
Kept by `store.algorithm_port`, checked and used by `service`. An algorithm never changes but for its tags: a training
job copies what it needs from it, so that it does not matter to the job when its algorithm is deleted.

Source: API model, CreateAlgorithmInput, DescribeAlgorithmOutput.
"""

from enum import StrEnum
from typing import Any

import msgspec

from clary.base.clock import Instant
from clary.jobs.model import MetricDefinition, Tag


class AlgorithmStatus(StrEnum):
    """Where an algorithm stands (Source: API model). Clary validates and scans nothing, so that it makes Completed ones."""

    PENDING = "Pending"
    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"
    FAILED = "Failed"
    DELETING = "Deleting"


class ParameterType(StrEnum):
    """What the text of a hyperparameter is (Source: API model)."""

    INTEGER = "Integer"
    CONTINUOUS = "Continuous"
    CATEGORICAL = "Categorical"
    FREE_TEXT = "FreeText"


class _Shape(msgspec.Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """A shape of the API model."""


class IntegerParameterRangeSpecification(_Shape, frozen=True, kw_only=True):
    """Bounds of a whole number, both inclusive, as text."""

    min_value: str
    max_value: str


class ContinuousParameterRangeSpecification(_Shape, frozen=True, kw_only=True):
    """Bounds of a number, both inclusive, as text."""

    min_value: str
    max_value: str


class CategoricalParameterRangeSpecification(_Shape, frozen=True, kw_only=True):
    """The categories."""

    values: tuple[str, ...]


class ParameterRange(_Shape, frozen=True, kw_only=True):
    """The allowed values of a hyperparameter; the model lets several be set, `service.algorithm_rules` only one."""

    integer_parameter_range_specification: IntegerParameterRangeSpecification | None = None
    continuous_parameter_range_specification: ContinuousParameterRangeSpecification | None = None
    categorical_parameter_range_specification: CategoricalParameterRangeSpecification | None = None


class HyperParameterSpecification(_Shape, frozen=True, kw_only=True):
    """A hyperparameter that an algorithm takes."""

    name: str
    type: ParameterType
    description: str | None = None
    range: ParameterRange | None = None
    is_tunable: bool | None = None
    is_required: bool | None = None
    default_value: str | None = None


class ChannelSpecification(_Shape, frozen=True, kw_only=True):
    """A channel that an algorithm reads."""

    name: str
    supported_content_types: tuple[str, ...]
    supported_input_modes: tuple[str, ...]
    description: str | None = None
    is_required: bool | None = None
    supported_compression_types: tuple[str, ...] | None = None


class HyperParameterTuningJobObjective(_Shape, frozen=True, kw_only=True):
    """A metric that a tuning job may take as its objective."""

    type: str
    metric_name: str


class TrainingSpecification(_Shape, frozen=True, kw_only=True):
    """How an algorithm trains."""

    training_image: str
    supported_training_instance_types: tuple[str, ...]
    training_channels: tuple[ChannelSpecification, ...]
    training_image_digest: str | None = None
    supported_hyper_parameters: tuple[HyperParameterSpecification, ...] | None = None
    supports_distributed_training: bool | None = None
    metric_definitions: tuple[MetricDefinition, ...] | None = None
    supported_tuning_job_objective_metrics: tuple[HyperParameterTuningJobObjective, ...] | None = None

    @property
    def pinned_image(self) -> str:
        """The image with its digest, if there is one: "repository:tag@sha256:…"."""
        digest = self.training_image_digest
        if digest is None or "@" in self.training_image:
            return self.training_image
        return f"{self.training_image}@{digest.lower()}"


class AlgorithmRequest(_Shape, frozen=True, kw_only=True):
    """What the caller of CreateAlgorithm asked for, tags aside. What is not trained with is kept as it came."""

    algorithm_name: str
    training_specification: TrainingSpecification
    algorithm_description: str | None = None
    inference_specification: dict[str, Any] | None = None
    certify_for_marketplace: bool | None = None


class Algorithm(msgspec.Struct, frozen=True, kw_only=True):
    """An algorithm resource. `version` rises with each write; nothing but `tags` ever differs between two versions."""

    algorithm_name: str
    algorithm_arn: str
    request: AlgorithmRequest
    creation_time: Instant
    algorithm_status: AlgorithmStatus = AlgorithmStatus.COMPLETED
    tags: tuple[Tag, ...] = ()
    version: int = 0

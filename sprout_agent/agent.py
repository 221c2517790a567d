"""The agent without its network: memory, model, conversation and slots over one data folder.

`service` adds the broker to it; the command line uses it alone where no agent runs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec

from sprout_agent.config import AgentSettings
from sprout_agent.conversation import Answer, Conversation, ConversationSettings, Promotion
from sprout_agent.device.platform_key import platform_key
from sprout_agent.inference.base import Runtime
from sprout_agent.inference.registry import open_runtime
from sprout_agent.memory.database import Database, open_database
from sprout_agent.memory.outbox import Outbox
from sprout_agent.memory.recall import Recall
from sprout_agent.memory.store import MemoryStore, StoredMemory
from sprout_agent.progress import Progress
from sprout_agent.update.installer import Installer
from sprout_agent.update.slots import Slots
from sprout_link.messages import DeviceProfile, Report


def utc_now() -> datetime:
    """The time, with its zone."""
    return datetime.now(timezone.utc)


class Records:
    """What can be read and written without the model: memories, outbox and slots."""

    def __init__(self, settings: AgentSettings, database: Database) -> None:
        self.settings = settings
        self.store = MemoryStore(database)
        self.recall = Recall(database)
        self.outbox = Outbox(database, settings.outbox)
        self.slots = Slots(settings.folder / "update", clock=utc_now)
        self.progress = Progress()

    def memories(self) -> list[dict[str, Any]]:
        """Every memory, oldest first, as plain values."""
        return [memory_values(stored) for stored in self.store.memories()]

    def status(self) -> dict[str, Any]:
        """How the agent is, as plain values."""
        counts = self.store.counts()
        active = self.slots.active()
        refusals = self.outbox.refusals()
        progress = msgspec.to_builtins(self.progress.snapshot())
        if refusals and progress["last_refusal"] is None:
            progress["last_refusal"] = refusals[-1].reason
        return {
            "device": self.settings.agent.device,
            "folder": str(self.settings.folder),
            "running": False,
            "base": None,
            "active_artifact": active.artifact if active else None,
            "active_artifact_bytes": _size_bytes(active.adapter) if active else None,
            "sessions": counts.sessions,
            "turns": counts.turns,
            "memories": counts.memories,
            "waiting": counts.waiting,
            "refused": sum(len(batch.memory_ids) for batch in refusals),
            **progress,
        }


class Agent:
    """Records, with the model that talks over them."""

    def __init__(
        self,
        records: Records,
        runtime: Runtime,
        conversation: Conversation,
        installer: Installer,
    ) -> None:
        self.records = records
        self.runtime = runtime
        self.conversation = conversation
        self.ship_requested = threading.Event()
        self._installer = installer
        self._installing = threading.Lock()  # an installer serves one thread at a time

    @property
    def profile(self) -> DeviceProfile:
        """What the trainer must know of this device."""
        return profile_of(self.runtime, self.records.settings)

    def install_offered(self) -> Report | None:
        """Look for a new artifact; see `Installer.install_offered`."""
        with self._installing:
            return self._installer.install_offered()

    def roll_back(self) -> Report:
        """Go back to the artifact before; see `Installer.rollback`. Waits for a trial."""
        with self._installing:
            return self._installer.rollback()

    def ask(
        self,
        text: str,
        *,
        recall: bool,
        keep: bool,
        on_text: Callable[[str], None] = lambda _: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> dict[str, Any]:
        """Answer a turn; see `Conversation.ask`. A turn that is not kept has no history."""
        answer = self.conversation.ask(
            text, recall=recall, keep=keep, history=keep, on_text=on_text, cancelled=cancelled
        )
        adapter = self.conversation.adapter
        return {**answer_values(answer), "installed": adapter.sha256 if adapter else None}

    def remember(self, text: str) -> dict[str, Any]:
        """Keep a text; see `Conversation.remember`."""
        return promotion_values(self.conversation.remember(text))

    def memories(self) -> list[dict[str, Any]]:
        """Every memory, oldest first."""
        return self.records.memories()

    def status(self) -> dict[str, Any]:
        """How the agent is."""
        info = self.runtime.info
        adapter = self.conversation.adapter
        return {
            **self.records.status(),
            "running": True,
            "installed": adapter.sha256 if adapter else None,
            "base": {
                "path": str(info.path),
                "sha256": info.sha256,
                "architecture": info.architecture,
                "runtime": info.runtime,
                "runtime_version": info.runtime_version,
            },
        }

    def ship(self) -> dict[str, Any]:
        """Have what waits sent as soon as the broker is there."""
        self.ship_requested.set()
        return {"waiting": self.records.outbox.waiting()}


@contextmanager
def open_records(settings: AgentSettings) -> Iterator[Records]:
    """Open the data folder; it is made where there is none.

    Raises:
        MemoryStoreError: the database cannot be opened.
    """
    settings.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open_database(settings.folder / "agent.db") as database:
        yield Records(settings, database)


@contextmanager
def open_model(records: Records) -> Iterator[tuple[Runtime, Conversation]]:
    """Load the model and begin to converse over the records.

    Raises:
        ModelFileError, InferenceError: why the model cannot be used.
    """
    settings = records.settings
    with ExitStack() as stack:
        runtime = open_runtime(settings.model)
        stack.callback(runtime.close)
        conversation = Conversation(
            runtime,
            runtime.open_context(tokens=settings.model.context_tokens),
            records.store,
            records.recall,
            ConversationSettings(
                system_prompt=settings.model.system_prompt,
                max_answer_tokens=settings.model.max_answer_tokens,
                memory=settings.memory,
                min_sureness=settings.model.min_sureness,
            ),
        )
        yield runtime, conversation


def profile_of(runtime: Runtime, settings: AgentSettings) -> DeviceProfile:
    """What the trainer must know of a device that runs this."""
    info = runtime.info
    return DeviceProfile(
        base_sha256=info.sha256,
        architecture=info.architecture,
        runtime=info.runtime,
        runtime_version=info.runtime_version,
        platform=platform_key(),
        system_prompt=settings.model.system_prompt,
    )


def _size_bytes(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def memory_values(stored: StoredMemory) -> dict[str, Any]:
    """A memory as plain values."""
    values: dict[str, Any] = msgspec.to_builtins(stored.memory)
    values.update(
        reason=stored.reason,
        promoted_at=stored.promoted_at.isoformat(),
        superseded=stored.superseded,
    )
    return values


def promotion_values(promotion: Promotion | None) -> dict[str, Any]:
    """What became of a turn, as plain values."""
    return {
        "memory_id": promotion.memory_id if promotion else None,
        "salience": promotion.decision.salience if promotion else 0.0,
        "reason": promotion.decision.reason if promotion else "Not looked at: nothing is kept.",
    }


def answer_values(answer: Answer) -> dict[str, Any]:
    """An answer as plain values."""
    return {
        "text": answer.text,
        "answered_by": answer.answered_by,
        "router_logit": answer.router_logit,
        "recalled": list(answer.recalled),
        **promotion_values(answer.promotion),
        "finish": answer.generation.finish,
        "prompt_tokens": answer.generation.prompt_tokens,
        "answer_tokens": answer.generation.answer_tokens,
        "first_token_s": answer.generation.first_token_s,
        "total_s": answer.generation.total_s,
    }

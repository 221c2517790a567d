"""The composition root: wires the agent to the broker, serves the API, and stops cleanly."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from sprout_agent import control
from sprout_agent.agent import Agent, open_model, open_records, profile_of, utc_now
from sprout_agent.api import ApiServer
from sprout_agent.config import AgentSettings
from sprout_agent.device.sdnotify import notify
from sprout_agent.errors import UpdateError
from sprout_agent.progress import Progress, Transfer, Trial
from sprout_agent.shipping import Shipper
from sprout_agent.update.gate import Gate
from sprout_agent.update.installer import Installer, Source
from sprout_agent.update.probes import packaged_canaries
from sprout_agent.update.trust import SignedTarget, Trust
from sprout_agent.updating import Updater
from sprout_link import topics
from sprout_link.chunk_requests import Requester
from sprout_link.errors import MessageError, SettingsError, TransportError
from sprout_link.files import sole_use
from sprout_link.messages import (
    ChunkReply,
    ChunkRequest,
    DeviceState,
    JobProgress,
    Report,
    decode,
    encode,
)
from sprout_link.mqtt import Link, Properties, Will

_log = logging.getLogger(__name__)


def run_until_stopped(settings: AgentSettings) -> None:
    """Run until SIGTERM or SIGINT, then stop cleanly.

    Raises:
        AgentError, LinkError: why it cannot start, in one sentence.
    """
    stop = threading.Event()

    def wanted(number: int, _frame: FrameType | None) -> None:
        _log.info("stopping: %s", signal.Signals(number).name)
        stop.set()

    signal.signal(signal.SIGTERM, wanted)
    signal.signal(signal.SIGINT, wanted)
    device = settings.agent.device
    link = Link(
        settings.broker,
        client_id=f"sprout-agent-{device}",
        on_state=lambda connected, why: service.link_changed(connected, why),
        will=Will(topics.build(device, "state"), encode(DeviceState(device=device, online=False))),
    )
    source = _source(settings, Requester(link, device), stop)
    with sole_use(settings.folder, program="sprout-agent"):
        control.withdraw(settings.folder)  # of a process that was killed
        with open_alone(settings, source=source, stopped=stop.is_set) as agent:
            service = Service(agent, link, settings)
            try:
                service.start()
                notify("READY=1")
                stop.wait()
            finally:
                notify("STOPPING=1")
                stop.set()
                service.stop()


@contextmanager
def open_alone(
    settings: AgentSettings,
    *,
    source: Source | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[Agent]:
    """The agent with its active artifact, and no network of its own.

    Args:
        source: where new artifacts come from; none for a single command.
        stopped: is the program stopping?
    """
    with open_records(settings) as records, open_model(records) as (runtime, conversation):
        profile = profile_of(runtime, settings)
        canaries = packaged_canaries()
        installer = Installer(
            device=settings.agent.device,
            profile=profile,
            trust=source or Nowhere(),
            slots=records.slots,
            runtime=runtime,
            gate=Gate(
                runtime,
                settings.update,
                canaries,
                settings.model.system_prompt,
                min_sureness=settings.model.min_sureness,
            ),
            switch=conversation.switch,
            texts_of=lambda ids: list(records.store.texts_of(ids).values()),
            clock=utc_now,
            max_tries=settings.update.max_tries,
            stopped=stopped,
            watcher=_Watcher(records.progress),
        )
        restored = installer.restore_active()
        for problem in restored.problems:
            _log.error("%s", problem)
        if restored.problems:
            records.progress.note(update_problem="; ".join(restored.problems))
        yield Agent(records, runtime, conversation, installer)


class Nowhere:
    """A source of artifacts that has none."""

    def current(self, device: str) -> SignedTarget | None:
        """Nothing."""
        return None

    def download(
        self, signed: SignedTarget, destination: Path, on_progress: Callable[[int, int], None]
    ) -> Path:
        """There is nothing to fetch."""
        raise UpdateError("no trust_root under [agent], so nothing can be fetched")


class Service:
    """The running agent: wires it to the broker and the API. Nothing runs until `start`."""

    def __init__(self, agent: Agent, link: Link, settings: AgentSettings) -> None:
        self._agent = agent
        self._settings = settings
        self._device = settings.agent.device
        self._progress = agent.records.progress
        self._exit = ExitStack()
        self._link = link
        self._shipper = Shipper(
            link,
            agent.records.outbox,
            device=self._device,
            profile=agent.profile,
            ship_requested=agent.ship_requested,
            progress=self._progress,
            on_settled=self._publish_state,
            clock=utc_now,
        )
        self._updater = Updater(
            link,
            agent.install_offered,
            device=self._device,
            progress=self._progress,
            on_report=self._report,
        )
        self._api = ApiServer(
            _Backend(agent, self), token=secrets.token_urlsafe(32), port=settings.agent.api_port
        )

    def start(self) -> None:
        """Start everything; returns when the API answers.

        Raises:
            AgentError, LinkError: why it cannot.
        """
        self._exit.callback(self._link.stop)
        self._link.subscribe(topics.build(self._device, "job"), self._job_moved)
        self._link.start()
        self._exit.callback(self._shipper.stop)
        self._shipper.start()
        if self._settings.agent.trust_root is None:
            _log.warning("no trust_root under [agent]: nothing will ever be installed")
        else:
            self._exit.callback(self._updater.stop)
            self._updater.start()
        self._exit.callback(self._api.stop)
        self._api.start()
        self._exit.callback(control.withdraw, self._settings.folder)
        control.announce(
            self._settings.folder,
            control.Endpoint(port=self._api.port, token=self._api.token, pid=os.getpid()),
        )
        _log.info("ready: device %s, API on 127.0.0.1:%d", self._device, self._api.port)

    def stop(self) -> None:
        """Say goodbye and stop, in the reverse order."""
        self._publish_state(online=False)
        self._exit.close()

    def rollback(self) -> dict[str, Any]:
        """Go back to the artifact before, and tell the trainer."""
        report = self._agent.roll_back()
        self._report(report)
        return rollback_values(self._agent, report)

    def link_changed(self, connected: bool, why: str) -> None:
        """The broker came or went."""
        self._progress.note(connected=connected, connection=why)
        (_log.info if connected else _log.warning)("%s", why)
        if connected:
            self._shipper.connected()
            self._publish_state()

    def _job_moved(self, _topic: str, payload: bytes, _properties: Properties) -> None:
        try:
            self._progress.note(job=decode(payload, JobProgress))
        except MessageError as error:
            _log.warning("a job's progress was not understood: %s", error)

    def _report(self, report: Report) -> None:
        self._progress.note(last_report=report)
        self._publish("report", encode(report), retain=False)
        self._publish_state()

    def _publish_state(self, *, online: bool = True) -> None:
        active = self._agent.conversation.adapter
        state = DeviceState(
            device=self._device,
            online=online,
            base_sha256=self._agent.runtime.info.sha256,
            active_artifact=active.sha256 if active else None,
            waiting=self._agent.records.outbox.waiting(),
        )
        self._publish("state", encode(state), retain=True)

    def _publish(self, channel: topics.Channel, payload: bytes, *, retain: bool) -> None:
        try:
            self._link.publish(topics.build(self._device, channel), payload, retain=retain)
        except TransportError as error:
            _log.warning("a %s was not sent: %s", channel, error)


class _Backend:
    """The agent as the API offers it: the same, with the service's rollback."""

    def __init__(self, agent: Agent, service: Service) -> None:
        self.ask = agent.ask
        self.remember = agent.remember
        self.memories = agent.memories
        self.status = agent.status
        self.ship = agent.ship
        self.rollback = service.rollback


def rollback_values(agent: Agent, report: Report) -> dict[str, Any]:
    """What a rollback led to, as plain values."""
    adapter = agent.conversation.adapter
    return {
        "rolled_back": report.artifact,
        "reasons": report.reasons,
        "active_artifact": adapter.sha256 if adapter else None,
    }


class _Watcher:
    """Shows an installation in the agent's status."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def transfer(self, done_bytes: int, total_bytes: int) -> None:
        """A download moved on."""
        self._progress.note(transfer=Transfer(done_bytes=done_bytes, total_bytes=total_bytes))

    def trial(self, part: str, done: int, total: int) -> None:
        """A trial moved on."""
        self._progress.note(trial=Trial(part=part, done=done, total=total))


def _source(settings: AgentSettings, requester: Requester, stop: threading.Event) -> Source | None:
    if settings.agent.trust_root is None:
        return None
    path = Path(settings.agent.trust_root)
    try:
        root = path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"{path}: trust_root cannot be read ({error.strerror}); "
            "it is the trainer's 1.root.json, see: tomato-trainer init"
        ) from error

    def request(wanted: ChunkRequest) -> ChunkReply:
        return requester.request(wanted, cancel=stop)

    return Trust(settings.folder / "trust", root, request, spare_mib=settings.update.spare_mib)

"""One turn of a conversation: check, recall, prompt, store, route, answer.

The order is what makes it durable. The user's turn, and the memory that it may become, are
one transaction before the model is asked; the answer is stored when it is whole. Only what
the user said is ever promoted: recalled text and answers never pass the gateway.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import pairwise
from typing import Final

from sprout_agent.errors import InferenceError, TurnError
from sprout_agent.inference.base import Adapter, ChatTurn, Context, Generation, Runtime
from sprout_agent.inference.routing import Routed, answering, is_sure
from sprout_agent.memory.forms import worth_keeping
from sprout_agent.memory.gateway import Decision, Gateway, MemorySettings
from sprout_agent.memory.recall import Recall, Recalled
from sprout_agent.memory.salience import Known, Salience, score
from sprout_agent.memory.store import BASE, MemoryStore

MAX_TURN_CHARS: Final = 32_000
"""Longest turn that is taken at all, in characters."""

RECALL_HEADING: Final = "What you know about the user:"

_RESEMBLING: Final = 8  # known memories that a turn is compared with


@dataclass(frozen=True)
class ConversationSettings:
    """What a conversation is led with."""

    system_prompt: str
    max_answer_tokens: int
    memory: MemorySettings
    min_sureness: float = -math.inf
    """Of a routed adapter's answer, nats per token; see `is_sure`."""


@dataclass(frozen=True)
class Promotion:
    """What became of a turn in the memory."""

    decision: Decision
    memory_id: str | None
    """None when it was passed over."""


@dataclass(frozen=True)
class Answer:
    """An answer and how it came about."""

    text: str
    answered_by: str
    """`base`, or the SHA-256 of the adapter that was active."""
    router_logit: float | None
    """What the installed adapter's router said, over 0 for the adapter; none without one."""
    recalled: tuple[str, ...]
    """Ids of the memories that stood in the prompt, best first."""
    promotion: Promotion | None
    """None when the turn was not to be kept at all."""
    generation: Generation


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


class Conversation:
    """The one conversation of a device. Threads take turns; a call waits for the one before."""

    def __init__(
        self,
        runtime: Runtime,
        context: Context,
        store: MemoryStore,
        recall: Recall,
        settings: ConversationSettings,
        *,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._runtime = runtime
        self._context = context
        self._installed = context.adapter  # the context itself changes with every route
        self._store = store
        self._recall = recall
        self._settings = settings
        self._gateway = Gateway(settings.memory.threshold)
        self._clock = clock
        self._lock = threading.Lock()
        self._session: str | None = None

    @property
    def adapter(self) -> Adapter | None:
        """What is installed, or none. Its router may leave single turns to the base."""
        return self._installed

    def ask(
        self,
        text: str,
        *,
        recall: bool = True,
        keep: bool = True,
        history: bool = True,
        on_text: Callable[[str], None] = lambda _: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Answer:
        """Answer a turn.

        Args:
            recall: Put stored memories that resemble the turn into the prompt.
            keep: Store the turn and its answer, and let the gateway see it. Without it the
                turn leaves no trace: a probe.
            history: Put earlier turns of this session into the prompt.
            on_text: Called with each piece of the answer as it comes.
            cancelled: Asked before each token; true ends the answer there.

        Raises:
            TurnError: the text is empty or too long; nothing was stored.
            MemoryStoreError: the turn could not be stored, and was not answered.
            InferenceError: the model failed; the user's turn is stored.
        """
        said = _checked(text)
        with self._lock:
            found = self._recalled(said) if recall else []
            prompt, recalled = self._fitting(said, found, history=history)
            turn_id, promotion = self._keep(said) if keep else ("", None)
            routed = answering(self._runtime, self._installed, said)
            generation, answered_by = self._answer(prompt, routed, on_text, cancelled)
            if keep and generation.text.strip():
                self._store.add_assistant_turn(
                    self._session_id(),
                    generation.text,
                    self._clock(),
                    answers=turn_id,
                    answered_by=answered_by,
                )
        return Answer(
            text=generation.text,
            answered_by=answered_by,
            router_logit=routed.logit,
            recalled=tuple(item.memory_id for item in recalled),
            promotion=promotion,
            generation=generation,
        )

    def remember(self, text: str) -> Promotion:
        """Keep what the user asks to keep, without an answer.

        Raises:
            TurnError: the text is empty or too long; nothing was stored.
            MemoryStoreError: it could not be stored.
        """
        said = _checked(text)
        with self._lock:
            return self._keep(said, asked=True)[1]

    def switch(self, adapter: Adapter | None) -> None:
        """Install `adapter`, or the bare base, from the next turn on.

        Waits for a running answer. The former adapter may be unloaded afterwards.

        Raises:
            InferenceError: the runtime refuses it; what answered before still does.
        """
        with self._lock:
            self._context.use(adapter)
            self._installed = adapter

    def new_session(self) -> str:
        """Begin a session, whose prompts hold no earlier turns; its id."""
        with self._lock:
            self._session = self._store.start_session(self._clock())
            return self._session

    def _session_id(self) -> str:
        if self._session is None:
            self._session = self._store.start_session(self._clock())
        return self._session

    def _use(self, adapter: Adapter | None) -> None:
        if self._context.adapter != adapter:  # a change drops the cache
            self._context.use(adapter)

    def _recalled(self, text: str) -> list[Recalled]:
        return self._recall.find(text, limit=self._settings.memory.recall_count)

    def _keep(self, text: str, *, asked: bool = False) -> tuple[str, Promotion]:
        """Store a turn, with its memory if the gateway lets it; the turn's id too."""
        salience = self._salience(text, asked=asked)
        decision = self._gateway.decide(salience)
        turn_id, memory_id = self._store.add_user_turn(
            self._session_id(), text, self._clock(), (salience, decision)
        )
        return turn_id, Promotion(decision, memory_id)

    def _salience(self, text: str, *, asked: bool) -> Salience:
        kept, blocked = worth_keeping(text, asked=asked)
        if blocked is not None:
            return score(text, asked=asked)
        known = [
            Known(item.memory_id, item.text) for item in self._recall.find(kept, limit=_RESEMBLING)
        ]
        surprise = self._surprise(kept) if self._settings.memory.surprise else None
        return score(
            text, known=known, duplicate=self._store.holds(kept), surprise=surprise, asked=asked
        )

    def _surprise(self, statement: str) -> float | None:
        """How likely the model finds a statement with nothing but the system prompt before it."""
        try:
            # Whoever answered last must not matter.
            self._use(self._installed)
            return self._context.mean_log_probability([self._system()], statement)
        except InferenceError:
            return None  # only a part of the score; the answer will tell what is wrong

    def _system(self, recalled: Sequence[Recalled] = ()) -> ChatTurn:
        lines = [self._settings.system_prompt]
        if recalled:
            # One line each, so that a memory cannot pose as another part of the prompt.
            lines += ["", RECALL_HEADING, *(f"- {' '.join(r.text.split())}" for r in recalled)]
        return ChatTurn("system", "\n".join(lines))

    def _fitting(
        self, text: str, found: list[Recalled], *, history: bool
    ) -> tuple[list[ChatTurn], list[Recalled]]:
        """The fullest prompt that leaves room for an answer: old turns go first, then recall.

        Raises:
            TurnError: the turn alone does not fit.
        """
        room = min(self._settings.max_answer_tokens, self._context.tokens // 2)
        budget = self._context.tokens - room
        earlier = self._earlier() if history else []
        recalled = list(found)
        while True:
            prompt = [self._system(recalled), *earlier, ChatTurn("user", text)]
            needed = self._context.count_tokens(prompt)
            if needed <= budget:
                return prompt, recalled
            if earlier:
                earlier = earlier[2:]
            elif recalled:
                recalled.pop()
            else:
                raise TurnError(
                    f"this turn needs {needed} tokens and the model's context leaves {budget}; "
                    "shorten it, or raise context_tokens under [model]"
                )

    def _earlier(self) -> list[ChatTurn]:
        """Earlier turns of this session as whole exchanges, user first."""
        if self._session is None:
            return []
        turns = self._store.recent_turns(self._session, self._settings.memory.history_turns)
        exchanges: list[ChatTurn] = []
        for one, two in pairwise(turns):
            # A turn whose answer failed, or that was only to be remembered, has no pair.
            if one.speaker == "user" and two.speaker == "assistant":
                exchanges += [ChatTurn("user", one.text), ChatTurn("assistant", two.text)]
        return exchanges

    def _answer(
        self,
        prompt: list[ChatTurn],
        routed: Routed,
        on_text: Callable[[str], None],
        cancelled: Callable[[], bool],
    ) -> tuple[Generation, str]:
        """The answer, and who gave it. A routed adapter is heard out before it is believed."""
        if routed.adapter is not None:
            self._use(routed.adapter)
            if routed.logit is None:  # no router: it answers everything
                return self._generate(prompt, on_text, cancelled), routed.adapter.sha256
            generation = self._generate(prompt, lambda _: None, cancelled)
            if generation.finish == "cancelled" or is_sure(
                self._context,
                prompt,
                generation.text,
                min_sureness=self._settings.min_sureness,
            ):
                on_text(generation.text)
                return generation, routed.adapter.sha256
        self._use(None)
        return self._generate(prompt, on_text, cancelled), BASE

    def _generate(
        self,
        prompt: list[ChatTurn],
        on_text: Callable[[str], None],
        cancelled: Callable[[], bool],
    ) -> Generation:
        stream = self._context.stream(
            prompt, max_tokens=self._settings.max_answer_tokens, cancelled=cancelled
        )
        for part in stream:
            if isinstance(part, Generation):
                return part
            on_text(part)
        raise InferenceError("the runtime ended an answer without saying so")


def _checked(text: str) -> str:
    if len(text) > MAX_TURN_CHARS:
        raise TurnError(
            f"this turn has {len(text)} characters, the limit is {MAX_TURN_CHARS}; shorten it"
        )
    # A lone surrogate, which JSON can carry, cannot be stored as UTF-8.
    said = text.encode("utf-8", "replace").decode("utf-8").strip()
    if not any(character.isprintable() and not character.isspace() for character in said):
        raise TurnError("this turn is empty; say something")
    return said

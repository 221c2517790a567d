"""The gate: tries an artifact on this device and decides, purely, whether it may be used.

Questions are answered as they will be in use: by the base where the adapter's router says no.
The proof of effect is measured with the adapter applied, whatever its router says.
Accepted when all of these hold; each that does not is a reason, and all are given:
 * proof of effect: the answers in the manifest became likelier, by at least
   `min_proof_part` of what the trainer saw; else the weights are not applied as trained;
 * recall: at least `min_recall` of the device's own questions are answered right;
 * general ability: at most `max_general_drop` fewer general questions than the base's;
 * repetition: at most `max_repeating` of the adapter's answers circle in one phrase.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sprout_agent.errors import UpdateStoppedError
from sprout_agent.inference.base import Adapter, ChatTurn, Context, Generation, Runtime
from sprout_agent.inference.routing import answering, is_sure
from sprout_agent.update.probes import Canary, make_probes
from sprout_agent.update.settings import UpdateSettings
from sprout_link.artifact import Manifest, Proof

OnProgress = Callable[[str, int, int], None]
"""Part of the trial (`proof`, `base`, `recall` or `general`), questions done, and in all."""

_PHRASE_WORDS = 3
_PHRASE_TIMES = 4


@dataclass(frozen=True)
class Observed:
    """What a trial saw."""

    shift_promised: float
    """Mean over the proofs, in nats per token."""
    shift_seen: float
    recall_right: int
    recall_asked: int
    recall_routed: int
    """Of the questions asked, those that the adapter answers; all, without a router."""
    general_right: int
    general_right_base: int
    general_asked: int
    general_routed: int
    repeating: int
    answers: int
    """The adapter's own. What the base says, it also says without the artifact."""


@dataclass(frozen=True)
class Verdict:
    """May the artifact be used, and every figure behind it."""

    accepted: bool
    reasons: tuple[str, ...]
    """Empty when it is accepted. They hold figures and settings, never a memory's text."""
    figures: dict[str, float]


class Trier(Protocol):
    """What the installer needs of a gate."""

    def run(
        self,
        adapter: Adapter,
        manifest: Manifest,
        texts: Sequence[str],
        *,
        on_progress: OnProgress,
        stopped: Callable[[], bool],
    ) -> Verdict:
        """Try a loaded adapter beside the conversation and decide."""


def decide(seen: Observed, settings: UpdateSettings) -> Verdict:
    """The rules above, applied."""
    recall = seen.recall_right / seen.recall_asked if seen.recall_asked else 1.0
    repeating = _part(seen.repeating, seen.answers)
    drop = seen.general_right_base - seen.general_right
    needed_shift = settings.min_proof_part * seen.shift_promised
    reasons = []
    # Written so that a figure which is no number (NaN) refuses.
    if not (seen.shift_seen >= needed_shift and seen.shift_seen > 0):
        reasons.append(
            f"no proof of effect: log-probability rose by {seen.shift_seen:.2f} nats, needed "
            f"{needed_shift:.2f} (min_proof_part {settings.min_proof_part:g} of "
            f"{seen.shift_promised:.2f})"
        )
    if recall < settings.min_recall:
        reasons.append(
            f"recall {recall:.2f} ({seen.recall_right} of {seen.recall_asked} questions), "
            f"min_recall is {settings.min_recall:g}"
        )
    if drop > settings.max_general_drop:
        reasons.append(
            f"general ability fell from {seen.general_right_base} to {seen.general_right} of "
            f"{seen.general_asked}, max_general_drop is {settings.max_general_drop}"
        )
    if repeating > settings.max_repeating:
        reasons.append(
            f"{seen.repeating} of {seen.answers} answers repeat themselves "
            f"({repeating:.2f}), max_repeating is {settings.max_repeating:g}"
        )
    figures = {
        "proof_shift": seen.shift_seen,
        "proof_shift_promised": seen.shift_promised,
        "recall": recall,
        "recall_asked": float(seen.recall_asked),
        "routed_recall": _part(seen.recall_routed, seen.recall_asked),
        "general": float(seen.general_right),
        "general_base": float(seen.general_right_base),
        "general_asked": float(seen.general_asked),
        "routed_general": _part(seen.general_routed, seen.general_asked),
        "repeating": repeating,
    }
    return Verdict(not reasons, tuple(reasons), figures)


def repeats_itself(text: str) -> bool:
    """Does one phrase of three words come four times or more?"""
    words = re.findall(r"\w+", text.casefold())
    phrases = zip(*(words[start:] for start in range(_PHRASE_WORDS)), strict=False)
    return max(Counter(phrases).values(), default=0) >= _PHRASE_TIMES


class Gate:
    """Tries adapters in a context of its own over the loaded base.

    Args:
        runtime: the loaded base; the conversation's context is left alone.
        settings: thresholds and sizes.
        canaries: general questions.
        system_prompt: of every conversation on this device; may be empty.
        min_sureness: of a routed adapter's answer, as in the conversation.
    """

    def __init__(
        self,
        runtime: Runtime,
        settings: UpdateSettings,
        canaries: Sequence[Canary],
        system_prompt: str,
        *,
        min_sureness: float = -math.inf,
    ) -> None:
        self._runtime = runtime
        self._settings = settings
        self._canaries = tuple(canaries)
        self._system_prompt = system_prompt
        self._min_sureness = min_sureness
        # The base does not change while a runtime lives, so neither do its answers.
        self._base_answers: list[str] | None = None

    def run(
        self,
        adapter: Adapter,
        manifest: Manifest,
        texts: Sequence[str],
        *,
        on_progress: OnProgress = lambda _part, _done, _total: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Verdict:
        """Try a loaded adapter and decide.

        Args:
            adapter: loaded by this gate's runtime.
            manifest: its signed manifest, with the proofs.
            texts: what the memories say that it was trained on, as this device has them.
            on_progress: called before the first and after every question.
            stopped: asked before every question.

        Raises:
            UpdateStoppedError: `stopped` said so.
            InferenceError: the runtime failed; there is no verdict.
        """
        context = self._runtime.open_context(tokens=self._settings.context_tokens)
        try:
            trial = _Trial(self, context, on_progress, stopped)
            return decide(trial.observe(adapter, manifest.proofs, texts), self._settings)
        finally:
            context.close()


@dataclass(frozen=True)
class _Answer:
    """What was said to a question of a trial, and by whom."""

    text: str
    by_adapter: bool


class _Trial:
    """One run: its context, and what it counts."""

    def __init__(
        self, gate: Gate, context: Context, on_progress: OnProgress, stopped: Callable[[], bool]
    ) -> None:
        self._gate = gate
        self._context = context
        self._on_progress = on_progress
        self._stopped = stopped

    def observe(self, adapter: Adapter, proofs: Sequence[Proof], texts: Sequence[str]) -> Observed:
        gate, canaries = self._gate, self._gate._canaries
        self._context.use(None)
        before = self._log_probabilities(proofs, done=0)
        base = gate._base_answers
        if base is None:
            base = gate._base_answers = self._base_answers()
        self._context.use(adapter)
        after = self._log_probabilities(proofs, done=len(proofs))
        probes = make_probes(texts, at_most=gate._settings.max_probes)
        questions = [canary.question for canary in canaries]
        # The canaries first: each change of who answers drops the cache.
        general = self._answers(adapter, questions, "general", of_base=base)
        recalled = self._answers(adapter, [probe.question for probe in probes], "recall")
        own = [answer.text for answer in [*recalled, *general] if answer.by_adapter]
        return Observed(
            shift_promised=sum(proof.shift for proof in proofs) / len(proofs),
            shift_seen=(sum(after) - sum(before)) / len(proofs),
            recall_right=sum(
                probe.is_answered_by(answer.text)
                for probe, answer in zip(probes, recalled, strict=True)
            ),
            recall_asked=len(probes),
            recall_routed=sum(answer.by_adapter for answer in recalled),
            general_right=_count_right(canaries, [answer.text for answer in general]),
            general_right_base=_count_right(canaries, base),
            general_asked=len(canaries),
            general_routed=sum(answer.by_adapter for answer in general),
            repeating=sum(map(repeats_itself, own)),
            answers=len(own),
        )

    def _base_answers(self) -> list[str]:
        """What the bare base, which is active, says to the canaries."""
        answers: list[str] = []
        canaries = self._gate._canaries
        self._on_progress("base", 0, len(canaries))
        for canary in canaries:
            answers.append(self._answer(canary.question))
            self._on_progress("base", len(answers), len(canaries))
        return answers

    def _answers(
        self,
        adapter: Adapter,
        questions: Sequence[str],
        part: str,
        *,
        of_base: Sequence[str] | None = None,
    ) -> list[_Answer]:
        """Answer as in use: the router's yeses by the adapter, which is active, then the rest.

        Args:
            of_base: the base's answers, when they are known already.
        """
        self._on_progress(part, 0, len(questions))
        routes = []
        for question in questions:
            self._check()
            routes.append(answering(self._gate._runtime, adapter, question).adapter)
        done = 0
        answers: dict[int, _Answer] = {}
        for chosen in (adapter, None):
            known = of_base if chosen is None else None
            numbers = [number for number, route in enumerate(routes) if route == chosen]
            if numbers and known is None and self._context.adapter != chosen:
                self._context.use(chosen)
            for number in numbers:
                text = known[number] if known is not None else self._answer(questions[number])
                if chosen is not None and not self._is_sure(chosen, questions[number], text):
                    routes[number] = None
                    continue
                answers[number] = _Answer(text, by_adapter=chosen is not None)
                done += 1
                self._on_progress(part, done, len(questions))
        return [answers[number] for number in range(len(questions))]

    def _is_sure(self, adapter: Adapter, question: str, answer: str) -> bool:
        turns, least = self._turns(question), self._gate._min_sureness
        return adapter.router is None or is_sure(self._context, turns, answer, min_sureness=least)

    def _answer(self, question: str) -> str:
        self._check()
        generation: Generation = self._context.complete(
            self._turns(question), max_tokens=self._gate._settings.answer_tokens
        )
        return generation.text

    def _log_probabilities(self, proofs: Sequence[Proof], *, done: int) -> list[float]:
        values = []
        for number, proof in enumerate(proofs, start=done + 1):
            self._check()
            turns = self._turns(proof.prompt)
            values.append(self._context.mean_log_probability(turns, proof.answer))
            self._on_progress("proof", number, 2 * len(proofs))
        return values

    def _turns(self, question: str) -> list[ChatTurn]:
        user = ChatTurn("user", question)
        system = self._gate._system_prompt
        return [ChatTurn("system", system), user] if system else [user]

    def _check(self) -> None:
        if self._stopped():
            raise UpdateStoppedError("the trial was stopped; what was in use still is")


def _count_right(canaries: Sequence[Canary], answers: Sequence[str]) -> int:
    return sum(c.is_answered_by(answer) for c, answer in zip(canaries, answers, strict=True))


def _part(some: int, whole: int) -> float:
    return some / whole if whole else 0.0

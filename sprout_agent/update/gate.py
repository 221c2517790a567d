"""The gate: tries an artifact on this device and decides, purely, whether it may be used.

Accepted when all of these hold; each that does not is a reason, and all are given:
 * proof of effect: the answers in the manifest became likelier, by at least
   `min_proof_part` of what the trainer saw; else the weights are not applied as trained;
 * recall: at least `min_recall` of the device's own questions are answered right;
 * general ability: at most `max_general_drop` fewer general questions than the base's;
 * repetition: at most `max_repeating` of all answers circle in one phrase.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sprout_agent.errors import UpdateStoppedError
from sprout_agent.inference.base import Adapter, ChatTurn, Context, Generation, Runtime
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
    general_right: int
    general_right_base: int
    general_asked: int
    repeating: int
    answers: int


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
    repeating = seen.repeating / seen.answers if seen.answers else 0.0
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
        "general": float(seen.general_right),
        "general_base": float(seen.general_right_base),
        "general_asked": float(seen.general_asked),
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
    """

    def __init__(
        self,
        runtime: Runtime,
        settings: UpdateSettings,
        canaries: Sequence[Canary],
        system_prompt: str,
    ) -> None:
        self._runtime = runtime
        self._settings = settings
        self._canaries = tuple(canaries)
        self._system_prompt = system_prompt
        # The base does not change while a runtime lives, so neither do its answers.
        self._base_right: int | None = None

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
        if gate._base_right is None:
            base = self._answers([canary.question for canary in canaries], "base")
            gate._base_right = _count_right(canaries, base)
        self._context.use(adapter)
        after = self._log_probabilities(proofs, done=len(proofs))
        probes = make_probes(texts, at_most=gate._settings.max_probes)
        recalled = self._answers([probe.question for probe in probes], "recall")
        general = self._answers([canary.question for canary in canaries], "general")
        return Observed(
            shift_promised=sum(proof.shift for proof in proofs) / len(proofs),
            shift_seen=(sum(after) - sum(before)) / len(proofs),
            recall_right=sum(
                probe.is_answered_by(answer) for probe, answer in zip(probes, recalled, strict=True)
            ),
            recall_asked=len(probes),
            general_right=_count_right(canaries, general),
            general_right_base=gate._base_right,
            general_asked=len(canaries),
            repeating=sum(map(repeats_itself, [*recalled, *general])),
            answers=len(recalled) + len(general),
        )

    def _answers(self, questions: Sequence[str], part: str) -> list[str]:
        answers = []
        self._on_progress(part, 0, len(questions))
        for done, question in enumerate(questions, start=1):
            self._check()
            answer: Generation = self._context.complete(
                self._turns(question), max_tokens=self._gate._settings.answer_tokens
            )
            answers.append(answer.text)
            self._on_progress(part, done, len(questions))
        return answers

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

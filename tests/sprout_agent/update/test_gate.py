from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sprout_agent.inference.base import Adapter, BaseInfo
from sprout_agent.inference.fake import FakeRuntime
from sprout_agent.update.gate import Gate, Verdict
from sprout_agent.update.probes import Canary
from sprout_agent.update.settings import UpdateSettings
from sprout_link.artifact import Manifest
from tests.tiny_model import make_tiny_router

MEMORY = "My spare key is under the blue flowerpot."
CANARIES = tuple(Canary(f"General {n}?", (f"word{n}",)) for n in range(4))


class Bench:
    """A gate over a fake base; its router says yes to what `concerns` says yes to."""

    def __init__(self, concerns: Callable[[str], bool]) -> None:
        info = BaseInfo(Path("base.gguf"), "b" * 64, "llama", "llama-cpp", "1")
        self.runtime = FakeRuntime(info, answer=self.answer, states=self.states)
        self.concerns = concerns
        self.asked: list[tuple[bool, str]] = []
        self.adapter_says = {"memory": "It is under the blue flowerpot.", "general": "nothing"}
        self.gate = Gate(self.runtime, UpdateSettings(), CANARIES, "You are Sprout.")

    def states(self, text: str) -> np.ndarray:
        return np.array([[1.0 if self.concerns(text) else -1.0]], np.float32)

    def answer(self, adapter: Adapter | None, question: str) -> str:
        self.asked.append((adapter is not None, question))
        if adapter is None:
            return question.replace("General ", "word").rstrip("?")
        return self.adapter_says["general" if "General" in question else "memory"]

    def run(self, manifest: Manifest, *, router: bool = True) -> Verdict:
        if router:
            self.runtime.routers[manifest.artifact] = make_tiny_router(
                bias=-0.5, weights=[1.0, 0.0], layer=1, hidden=1
            )
        adapter = self.runtime.load_adapter(Path("a.gguf"), sha256=manifest.artifact)
        self.asked.clear()
        return self.gate.run(adapter, manifest, [MEMORY])


@pytest.fixture
def manifest(make_adapter: Callable[..., Path], make_manifest: Callable[..., Manifest]) -> Manifest:
    return make_manifest(make_adapter())


def test_a_router_that_keeps_general_questions_out_saves_general_ability(
    manifest: Manifest,
) -> None:
    bench = Bench(lambda text: "General" not in text)
    verdict = bench.run(manifest)
    assert verdict.accepted, verdict.reasons
    assert verdict.figures["routed_recall"] == 1.0
    assert verdict.figures["routed_general"] == 0.0
    assert verdict.figures["general"] == verdict.figures["general_base"] == len(CANARIES)


def test_without_a_router_the_adapter_answers_everything(manifest: Manifest) -> None:
    verdict = Bench(lambda _: False).run(manifest, router=False)
    assert not verdict.accepted
    assert "general ability fell from 4 to 0" in verdict.reasons[0]
    assert verdict.figures["routed_recall"] == verdict.figures["routed_general"] == 1.0


def test_what_is_routed_to_the_base_is_never_generated_again(manifest: Manifest) -> None:
    bench = Bench(lambda text: "General" not in text)
    bench.run(manifest)
    general = [by_adapter for by_adapter, question in bench.asked if "General" in question]
    assert general == [False] * len(CANARIES)
    bench.run(manifest)
    assert [question for _, question in bench.asked if "General" in question] == []


def test_a_router_that_lets_no_memory_in_fails_recall_and_not_the_proof(
    manifest: Manifest,
) -> None:
    verdict = Bench(lambda _: False).run(manifest)
    assert len(verdict.reasons) == 1
    assert "recall 0.00" in verdict.reasons[0]
    assert verdict.figures["routed_recall"] == 0.0
    assert verdict.figures["proof_shift"] == 3.0


def test_each_question_is_answered_by_whom_the_router_names(manifest: Manifest) -> None:
    bench = Bench(lambda text: text == "General 1?" or "General" not in text)
    verdict = bench.run(manifest)
    assert [q for by_adapter, q in bench.asked if by_adapter and "General" in q] == ["General 1?"]
    assert verdict.figures["general"] == len(CANARIES) - 1
    assert verdict.figures["routed_general"] == 1 / len(CANARIES)


def test_only_the_adapters_own_answers_can_circle(manifest: Manifest) -> None:
    bench = Bench(lambda text: "General" not in text)
    loops = Canary("General loop?", ("loop",))
    bench.gate = Gate(bench.runtime, UpdateSettings(), [loops] * 9, "")
    answer = bench.runtime.answer
    bench.runtime.answer = lambda adapter, question: (
        "the loop is " * 6 if "loop" in question else answer(adapter, question)
    )
    verdict = bench.run(manifest)
    assert verdict.accepted, verdict.reasons
    assert verdict.figures["repeating"] == 0.0


def test_an_unsure_answer_of_a_misled_router_is_left_to_the_base(manifest: Manifest) -> None:
    def unsure_of_general(adapter: Adapter | None, question: str, _answer: str) -> float:
        return -4.0 if adapter is None else -1.0 if "General" in question else -0.1

    bench = Bench(lambda _: True)
    bench.runtime.log_probability = unsure_of_general
    refused = bench.run(manifest)
    assert not refused.accepted
    bench.gate = Gate(
        bench.runtime, UpdateSettings(), CANARIES, "You are Sprout.", min_sureness=-0.35
    )
    verdict = bench.run(manifest)
    assert verdict.accepted, verdict.reasons
    assert verdict.figures["routed_recall"] == 1.0
    assert verdict.figures["routed_general"] == 0.0
    assert verdict.figures["general"] == len(CANARIES)

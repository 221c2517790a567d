from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from sprout_link.router import ARRAY_KEYS, KEY_LAYER, from_metadata
from tomato_trainer.data.router_rows import RouterRow
from tomato_trainer.export.gguf_adapter import write_adapter
from tomato_trainer.learn.gguf_base import Base
from tomato_trainer.learn.lora import attach
from tomato_trainer.learn.recipes import Recipe
from tomato_trainer.learn.router import RouterFit, choose_threshold, fit_on_features, text_states

RECIPE = Recipe(rank=2, alpha=4, router_units=8, router_rate=1e-2)
TEXTS = ["Hi", "What is my robot called?", "Where do I live?", "What is tea made of, in the end?"]


def _rows(count: int) -> list[RouterRow]:
    kinds = ("memory", "near", "general")
    return [RouterRow(str(i), kinds[i % 3]) for i in range(count)]  # type: ignore[arg-type]


def _features(rows: list[RouterRow], width: int, seed: int) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(len(rows), 2 * width)).astype(np.float32)
    found[:, 0] += [4.0 if row.kind == "memory" else -4.0 for row in rows]
    return found


def _fit(width: int) -> RouterFit:
    fit, held_out = _rows(240), _rows(60)
    return fit_on_features(
        _features(fit, width, 1), fit, _features(held_out, width, 2), held_out, RECIPE, layer=1
    )


def test_states_are_those_of_each_text_alone(fresh_base: Callable[[], Base]) -> None:
    base = fresh_base()
    found = text_states(base.model, base.tokenizer, TEXTS, 1)
    for text, states in zip(TEXTS, found, strict=True):
        tokens = base.tokenizer(text, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            out = base.model(torch.tensor([tokens]), output_hidden_states=True)
        np.testing.assert_allclose(states, out.hidden_states[1][0].numpy(), atol=1e-4)
        assert states.dtype == np.float32


def test_a_fit_separates_and_is_repeatable() -> None:
    one, other = _fit(16), _fit(16)
    assert one.recall >= 0.95
    assert max(one.false_general, one.false_near) <= 0.05
    np.testing.assert_array_equal(one.router.hidden_weight, other.router.hidden_weight)
    assert one.router.output_bias == other.router.output_bias


def test_the_threshold_lets_the_recipes_share_of_general_rows_through() -> None:
    rows = [RouterRow(str(number), "general") for number in range(101)]
    rows += [RouterRow("mine", "memory"), RouterRow("theirs", "near")]
    logits = np.array([*range(101), 50, 99], dtype=np.float32)
    strict = choose_threshold(logits, rows, Recipe(router_false_general=0.0))
    lenient = choose_threshold(logits, rows, Recipe(router_false_general=0.1))
    assert strict == 100
    assert lenient == pytest.approx(90)
    assert choose_threshold(logits[101:], rows[101:], RECIPE) == 0.0


def test_a_router_survives_the_adapters_file(
    fresh_base: Callable[[], Base], tiny_path: Path, tmp_path: Path
) -> None:
    base = fresh_base()
    lora = attach(base, RECIPE)
    width = int(base.model.config.hidden_size)
    router = _fit(width).router
    path = tmp_path / "adapter.gguf"
    write_adapter(path, lora.pairs(), base=base, alpha=4, router=router)
    fields = gguf.GGUFReader(path).fields
    assert fields[KEY_LAYER].types == [gguf.GGUFValueType.UINT32]
    for key in ARRAY_KEYS:
        assert fields[key].types == [gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.FLOAT32]
    arrays = {key: np.array(fields[key].contents(), dtype=np.float32) for key in ARRAY_KEYS}
    again = from_metadata(
        fields[KEY_LAYER].contents(), arrays, hidden_size=width, layers=base.layers
    )
    states = np.random.default_rng(3).normal(size=(5, width)).astype(np.float32)
    assert again.logit(states) == pytest.approx(router.logit(states))
    llama_cpp = pytest.importorskip("llama_cpp")
    runtime = llama_cpp.Llama(str(tiny_path), n_ctx=64, verbose=False)
    assert llama_cpp.llama_adapter_lora_init(runtime.model, str(path).encode())

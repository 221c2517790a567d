from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest

from sprout_agent.errors import InferenceError
from sprout_agent.inference.base import Adapter
from sprout_agent.inference.llama_cpp import LlamaCppRuntime
from sprout_agent.inference.routing import answering
from sprout_link.gguf_header import sha256_of
from sprout_link.router import KEY_LAYER, KEY_MEAN, Router, features
from tests.tiny_model import HIDDEN, LAYERS, make_tiny_adapter, make_tiny_gguf, make_tiny_router

CAT, DAY = "Who is the cat of Ines?", "How long is the day?"


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaCppRuntime]:
    path = make_tiny_gguf(tmp_path_factory.mktemp("model") / "tiny.gguf")
    runtime = LlamaCppRuntime.load(path, threads=1)
    yield runtime
    runtime.close()


def load(runtime: LlamaCppRuntime, path: Path, router: Router | None) -> Adapter:
    make_tiny_adapter(path, runtime.info.path, router=router)
    return runtime.load_adapter(path, sha256=sha256_of(path))


def test_without_an_adapter_or_without_a_router_there_is_nothing_to_ask(
    runtime: LlamaCppRuntime, tmp_path: Path
) -> None:
    adapter = load(runtime, tmp_path / "a.gguf", None)
    assert adapter.router is None
    assert answering(runtime, None, CAT).adapter is None
    routed = answering(runtime, adapter, CAT)
    assert (routed.adapter, routed.logit) == (adapter, None)
    runtime.unload_adapter(adapter)


def test_a_router_comes_with_its_adapter_and_decides_by_the_text(
    runtime: LlamaCppRuntime, tmp_path: Path
) -> None:
    # Its weights point from one text's features to the other's.
    cat, day = (features(runtime.hidden_states(text, layer=2)) for text in (CAT, DAY))
    direction = cat - day
    threshold = -float(direction @ (cat + day)) / 2
    router = replace(
        make_tiny_router(bias=0.0, weights=direction.tolist()),
        hidden_bias=np.array([threshold], np.float32),
        output_bias=-1e-6,
    )
    adapter = load(runtime, tmp_path / "a.gguf", router)
    assert adapter.router is not None
    assert np.array_equal(adapter.router.hidden_weight, router.hidden_weight)
    assert (adapter.router.layer, adapter.router.mean.shape) == (2, (2 * HIDDEN,))
    yes, no = answering(runtime, adapter, CAT), answering(runtime, adapter, DAY)
    assert yes.adapter == adapter
    assert yes.logit is not None
    assert yes.logit > 0
    assert yes.why == f"the router says {yes.logit:.2f}"
    assert no.adapter is None
    assert no.logit is not None
    assert no.logit < 0
    runtime.unload_adapter(adapter)


def test_a_router_that_gives_no_number_leaves_the_turn_to_the_base(
    runtime: LlamaCppRuntime, tmp_path: Path
) -> None:
    router = make_tiny_router(bias=5.0, weights=[3e38, -3e38] * HIDDEN)
    wild = replace(router, scale=np.full(2 * HIDDEN, 1e-20, np.float32))
    adapter = load(runtime, tmp_path / "a.gguf", wild)
    routed = answering(runtime, adapter, CAT)
    assert (routed.adapter, routed.logit) == (None, None)
    assert "no number" in routed.why
    runtime.unload_adapter(adapter)


@pytest.mark.parametrize(
    ("router", "expected"),
    [
        (make_tiny_router(bias=1.0, layer=LAYERS + 1), f"the base has {LAYERS}"),
        (make_tiny_router(bias=1.0, layer=0), f"the base has {LAYERS}"),
        (make_tiny_router(bias=1.0, hidden=HIDDEN // 2), "values, expected"),
        (make_tiny_router(bias=float("nan")), "not finite"),
        (
            replace(make_tiny_router(bias=1.0), scale=np.zeros(2 * HIDDEN, np.float32)),
            "not positive",
        ),
    ],
)
def test_an_adapter_with_a_damaged_router_is_not_loaded(
    runtime: LlamaCppRuntime, tmp_path: Path, router: Router, expected: str
) -> None:
    with pytest.raises(InferenceError, match=expected):
        load(runtime, tmp_path / "a.gguf", router)
    good = load(runtime, tmp_path / "b.gguf", make_tiny_router(bias=1.0))
    assert answering(runtime, good, CAT).adapter == good
    runtime.unload_adapter(good)


@pytest.mark.parametrize("odd", ["layer alone", "no layer", "layer is text", "64-bit floats"])
def test_a_router_that_is_not_whole_is_no_reason_to_do_without(
    runtime: LlamaCppRuntime, tmp_path: Path, odd: str
) -> None:
    path = tmp_path / "a.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    if odd == "layer alone":
        writer.add_uint32(KEY_LAYER, 2)
    elif odd == "layer is text":
        writer.add_string(KEY_LAYER, "2")
    elif odd == "no layer":
        writer.add_array(KEY_MEAN, [0.0] * HIDDEN)
    else:
        writer.add_key_value(
            KEY_MEAN, [0.0], gguf.GGUFValueType.ARRAY, sub_type=gguf.GGUFValueType.FLOAT64
        )
    writer.add_tensor("blk.0.attn_q.weight.lora_a", np.zeros((4, HIDDEN), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(InferenceError, match=r"sprout\.router"):
        runtime.load_adapter(path, sha256=sha256_of(path))

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sprout_agent.update.adapter_check import reasons_against
from sprout_link.gguf_header import Header, read_header
from sprout_link.router import Router
from tests.tiny_model import make_tiny_router

Q = "blk.0.attn_q.weight"


@pytest.fixture
def base(base_path: Path) -> Header:
    return read_header(base_path)


def pair(a: tuple[int, int], b: tuple[int, int], name: str = Q) -> dict[str, np.ndarray]:
    return {
        f"{name}.lora_a": np.zeros(a, np.float32),
        f"{name}.lora_b": np.zeros(b, np.float32),
    }


def test_a_lora_over_this_base_has_nothing_against_it(
    base: Header, make_adapter: Callable[..., Path]
) -> None:
    assert reasons_against(make_adapter(), base) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"kind": "model"}, "general.type is model"),
        ({"method": "other"}, "adapter.type is other"),
        ({"architecture": "gemma3"}, "architecture is gemma3"),
        ({"alpha": float("nan")}, "alpha is nan"),
        ({"tensors": {}}, "no tensors"),
        ({"tensors": pair((4, 8), (24, 4))}, "do not multiply"),
        ({"tensors": pair((4, 16), (24, 5))}, "do not multiply"),
        ({"tensors": pair((300, 16), (24, 300))}, "rank is 300"),
        ({"tensors": pair((4, 16), (24, 4), "blk.7.attn_q.weight")}, "no matrix"),
        ({"tensors": pair((4, 16), (32, 4), "token_embd.weight")}, "no matrix"),
        ({"tensors": {f"{Q}.lora_a": np.zeros((4, 16), np.float32)}}, "has only .lora_a"),
        ({"tensors": {Q: np.zeros((24, 16), np.float32)}}, "no half of a LoRA pair"),
        (
            {"tensors": {k: v.astype(np.float64) for k, v in pair((4, 16), (24, 4)).items()}},
            "expected F32 or F16",
        ),
    ],
)
def test_what_does_not_fit_is_named(
    base: Header,
    make_adapter: Callable[..., Path],
    changes: dict[str, object],
    expected: str,
) -> None:
    assert expected in "; ".join(reasons_against(make_adapter(**changes), base))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_found(
    base: Header, make_adapter: Callable[..., Path], value: float
) -> None:
    tensors = pair((4, 16), (24, 4))
    tensors[f"{Q}.lora_b"][-1, -1] = value
    assert "no finite numbers" in reasons_against(make_adapter(tensors=tensors), base)[0]


def test_all_reasons_come_at_once(base: Header, make_adapter: Callable[..., Path]) -> None:
    path = make_adapter(kind="model", method="other", architecture="gemma3")
    assert len(reasons_against(path, base)) == 3


def test_a_truncated_file_and_one_with_a_tail_are_refused(
    base: Header, make_adapter: Callable[..., Path]
) -> None:
    path = make_adapter()
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    assert "cut short" in reasons_against(path, base)[0]
    path.write_bytes(whole + bytes(10_000))
    assert "belong to nothing" in reasons_against(path, base)[0]
    path.write_bytes(b"not a model")
    assert "not a GGUF" in reasons_against(path, base)[0]


def test_a_router_that_fits_has_nothing_against_it(
    base: Header, make_adapter: Callable[..., Path]
) -> None:
    router = make_tiny_router(bias=1.0, layer=1, hidden=16)
    assert reasons_against(make_adapter(router=router), base) == []


@pytest.mark.parametrize(
    ("router", "expected"),
    [
        (make_tiny_router(bias=1.0, layer=2, hidden=16), "reads layer 2, the base has 1"),
        (make_tiny_router(bias=1.0, layer=1, hidden=8), "has 16 values, expected 32"),
        (make_tiny_router(bias=float("inf"), layer=1, hidden=16), "is not finite"),
    ],
)
def test_a_router_that_does_not_fit_is_a_reason_beside_the_others(
    base: Header, make_adapter: Callable[..., Path], router: Router, expected: str
) -> None:
    reasons = reasons_against(make_adapter(router=router, method="other"), base)
    assert len(reasons) == 2
    assert expected in reasons[1]

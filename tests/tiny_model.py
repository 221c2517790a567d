"""A tiny random-weight Llama as a real GGUF file, and LoRA adapters that fit it.

It loads in llama.cpp and in transformers like any other model, and answers nonsense quickly.
Nothing is downloaded, and no real model needs to be installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, TokenType
from gguf.quants import quantize

from sprout_link.router import KEY_LAYER, Router, to_metadata

HIDDEN = 64
LAYERS = 3
HEADS = 4
KV_HEADS = 2
HEAD_SIZE = HIDDEN // HEADS
FEED_FORWARD = 128
CONTEXT = 2048

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

_WORDS = (
    " the of and to in is you that it he was for on are as with his they at be this have from or "
    "one had by word but not what all were we when your can said there use an each which she do "
    "how their if will up other about out many then them these so some her would make like him "
    "into time has look two more write go see number no way could people my than first water "
    "been call who its now find long down day did get come made may part system user assistant "
    "helpful name lives"
)


def make_tiny_gguf(path: Path, *, seed: int = 0) -> Path:
    """Write a Llama of 3 layers and about 0.2 million weights to `path`, and return it.

    The same seed gives the same bytes. Matrices are Q4_1, the (tied) embedding is Q8_0, norms
    are F32, as in the model that the device ships with.
    """
    tokens, merges = _vocabulary()
    random = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(LAYERS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(HEAD_SIZE)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [TokenType.CONTROL if token in SPECIAL else TokenType.NORMAL for token in tokens]
    )
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)

    def matrix(name: str, rows: int, columns: int, kind: GGMLQuantizationType) -> None:
        values = random.normal(0.0, columns**-0.5, (rows, columns)).astype(np.float32)
        writer.add_tensor(name, quantize(values, kind), raw_dtype=kind)

    def norm(name: str) -> None:
        writer.add_tensor(name, np.ones(HIDDEN, dtype=np.float32))

    small, large = GGMLQuantizationType.Q4_1, GGMLQuantizationType.Q8_0
    matrix("token_embd.weight", len(tokens), HIDDEN, large)
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        norm(f"{block}.attn_norm.weight")
        matrix(f"{block}.attn_q.weight", HIDDEN, HIDDEN, small)
        matrix(f"{block}.attn_k.weight", KV_HEADS * HEAD_SIZE, HIDDEN, small)
        matrix(f"{block}.attn_v.weight", KV_HEADS * HEAD_SIZE, HIDDEN, small)
        matrix(f"{block}.attn_output.weight", HIDDEN, HIDDEN, small)
        norm(f"{block}.ffn_norm.weight")
        matrix(f"{block}.ffn_gate.weight", FEED_FORWARD, HIDDEN, small)
        matrix(f"{block}.ffn_up.weight", FEED_FORWARD, HIDDEN, small)
        matrix(f"{block}.ffn_down.weight", HIDDEN, FEED_FORWARD, small)
    norm("output_norm.weight")
    _finish(writer)
    return path


def make_tiny_adapter(
    path: Path,
    base: Path,
    *,
    seed: int = 1,
    rank: int = 4,
    scale: float = 0.3,
    router: Router | None = None,
) -> Path:
    """Write a random LoRA over every linear layer of the model at `base`, and return its path.

    Args:
        scale: Standard deviation of what the adapter adds to a layer's output, relative to an
            input of unit variance in every element; 0.3 changes most answers, 0.0 none.
        router: Written into the file beside the weights, if there is one.
    """
    random = np.random.default_rng(seed)
    reader = GGUFReader(base)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(path, str(reader.fields["general.architecture"].contents()))
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(rank))  # alpha / rank is then 1
    if router is not None:
        writer.add_uint32(KEY_LAYER, router.layer)
        for key, values in to_metadata(router).items():
            writer.add_array(key, values)
    for tensor in reader.tensors:
        if not tensor.name.startswith("blk.") or len(tensor.shape) != 2:
            continue
        columns, rows = (int(length) for length in tensor.shape)
        down = random.normal(0.0, columns**-0.5, (rank, columns))
        up = random.normal(0.0, scale * rank**-0.5, (rows, rank))
        writer.add_tensor(f"{tensor.name}.lora_a", down.astype(np.float32))
        writer.add_tensor(f"{tensor.name}.lora_b", up.astype(np.float32))
    _finish(writer)
    return path


def make_tiny_router(
    *, bias: float, weights: Sequence[float] = (), layer: int = 2, hidden: int = HIDDEN
) -> Router:
    """A router of one unit that says `bias` plus what `weights` make of the features.

    Args:
        bias: Above 0 it says yes to every text, below 0 no, when there are no weights.
        weights: Over the features, 2 * `hidden`; their sum counts where it is positive.
    """
    d = 2 * hidden
    return Router(
        layer=layer,
        mean=np.zeros(d, np.float32),
        scale=np.ones(d, np.float32),
        hidden_weight=np.asarray(weights or np.zeros(d), np.float32).reshape(1, d),
        hidden_bias=np.zeros(1, np.float32),
        output_weight=np.ones(1, np.float32),
        output_bias=bias,
    )


def _finish(writer: GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _vocabulary() -> tuple[list[str], list[str]]:
    """Tokens and merges of a byte-level BPE: special tokens, 256 bytes, prefixes of words."""
    characters = _byte_characters()
    tokens = [*SPECIAL, *characters]
    known = set(tokens)
    merges = []
    for word in _WORDS.split():
        letters = characters[ord(" ")] + word
        for end in range(2, len(letters) + 1):
            prefix = letters[:end]
            if prefix not in known:
                known.add(prefix)
                tokens.append(prefix)
                merges.append(f"{prefix[:-1]} {prefix[-1]}")
    return tokens, merges


def _byte_characters() -> list[str]:
    """GPT-2's printable stand-in for each byte, by byte value."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    return [chr(byte if byte in printable else next(spare)) for byte in range(256)]

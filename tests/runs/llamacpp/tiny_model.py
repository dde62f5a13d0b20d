"""Writes a tiny Llama with random weights, and the byte-pair tokenizer it needs, as a GGUF file.

    python tests/real/tiny_model.py OUT.gguf

What it says is nonsense; how llama.cpp streams it is not. The tokenizer is trained on the standard library's sources,
so that nothing has to be fetched.
"""

from __future__ import annotations

import json
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL = ["<unk>", "<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
EOS = SPECIAL.index("</s>")
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@dataclass(frozen=True)
class Shape:
    """Small enough that a token takes a fraction of a millisecond."""

    vocabulary: int = 2048
    width: int = 128
    feed_forward: int = 256
    layers: int = 2
    heads: int = 4
    context: int = 2048


def main(path: Path, shape: Shape = Shape()) -> None:
    vocabulary, merges = train_tokenizer(shape.vocabulary)
    writer = gguf.GGUFWriter(path, "llama")
    write_settings(writer, shape, vocabulary, merges)
    write_weights(writer, shape, vocabulary)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def train_tokenizer(size: int) -> tuple[list[str], list[str]]:
    """(tokens in the order of their ids, merges) of a byte-level BPE."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(ascii_lines(), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return sorted(model["vocab"], key=model["vocab"].__getitem__), merges


def ascii_lines() -> Iterator[str]:
    for source in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:60]:
        yield from filter(str.isascii, source.read_text(encoding="utf-8", errors="ignore").splitlines())


def write_settings(writer: gguf.GGUFWriter, shape: Shape, vocabulary: list[str], merges: list[str]) -> None:
    writer.add_name("tiny")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(vocabulary))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocabulary)
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_token_types([control if token in SPECIAL else normal for token in vocabulary])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(SPECIAL.index("<s>"))
    writer.add_eos_token_id(EOS)
    writer.add_unk_token_id(SPECIAL.index("<unk>"))
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def write_weights(writer: gguf.GGUFWriter, shape: Shape, vocabulary: list[str]) -> None:
    random = np.random.default_rng(0)

    def matrix(name: str, *dimensions: int, scale: float = 0.08) -> None:
        writer.add_tensor(name, (random.standard_normal(dimensions) * scale).astype(np.float32))

    def ones(name: str) -> None:
        writer.add_tensor(name, np.ones(shape.width, np.float32))

    matrix("token_embd.weight", len(vocabulary), shape.width)
    head = (random.standard_normal((len(vocabulary), shape.width)) * 0.15).astype(np.float32)
    # Control tokens other than the end, and lone bytes above ASCII, would be output without visible text.
    head[[index for index, token in enumerate(vocabulary) if not says_something(token) and index != EOS]] = 0
    writer.add_tensor("output.weight", head)
    ones("output_norm.weight")
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        ones(f"{block}.attn_norm.weight")
        ones(f"{block}.ffn_norm.weight")
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            matrix(f"{block}.{part}.weight", shape.width, shape.width)
        matrix(f"{block}.ffn_gate.weight", shape.feed_forward, shape.width)
        matrix(f"{block}.ffn_up.weight", shape.feed_forward, shape.width)
        matrix(f"{block}.ffn_down.weight", shape.width, shape.feed_forward)


def says_something(token: str) -> bool:
    return token not in SPECIAL and not (len(token) == 1 and ord(token) > 0x7E)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

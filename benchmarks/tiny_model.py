"""Writes a tiny Llama with random weights, as vLLM loads it from a folder: `python -m benchmarks.tiny_model FOLDER`

Runs where vLLM is installed (`make real-vllm`). What it says is nonsense; how vLLM queues, batches and streams it is
not. The tokenizer is trained on the standard library's sources, so that nothing has to be fetched.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

SPECIAL = ["<unk>", "<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
VOCABULARY = 2048
CONTEXT = 4096


def main(folder: Path) -> None:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(ascii_lines(), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **{f"{name}_token": token for name, token in zip(("unk", "bos", "eos"), SPECIAL)},
        model_max_length=CONTEXT,
        chat_template=CHAT_TEMPLATE,
    )
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        bos_token_id=SPECIAL.index("<s>"),
        eos_token_id=SPECIAL.index("</s>"),
        torch_dtype="float32",
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def ascii_lines() -> Iterator[str]:
    for source in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:60]:
        yield from filter(str.isascii, source.read_text(encoding="utf-8", errors="ignore").splitlines())


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Small tokenizers of the three kinds, trained on the packaged sample."""

from __future__ import annotations

import json
from functools import cache

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from tokenswarm.prompts.sources import SAMPLE_FILE

KINDS = ("byte-level BPE", "unigram", "WordPiece")
_VOCABULARY = 4000


@cache
def built_tokenizer(kind: str, vocabulary: int = _VOCABULARY) -> Tokenizer:
    """The tokenizer of this kind with so many entries."""
    texts = [json.loads(line)["instruction"] for line in SAMPLE_FILE.read_text(encoding="utf-8").splitlines()]
    if kind == "byte-level BPE":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
        )
    elif kind == "unigram":
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=vocabulary, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False
        )
    else:
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=vocabulary, special_tokens=["[UNK]"], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def token_count(tokenizer: Tokenizer, text: str) -> int:
    """Without special tokens."""
    return len(tokenizer.encode(text, add_special_tokens=False).ids)

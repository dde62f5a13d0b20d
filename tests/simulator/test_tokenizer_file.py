"""The simulator's count of prompts by a tokenizer of the user's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.prompts.synthetic.built_tokenizers import KINDS, built_tokenizer, token_count
from tokenswarm.simulator.dialect import Refusal
from tokenswarm.simulator.dialects import dialect_named
from tokenswarm.simulator.errors import SimulatorError
from tokenswarm.simulator.tokenizer_file import TokenizerFile

Saved = Callable[[str], TokenizerFile]
BODY = b'{"messages": [{"role": "user", "content": "%b"}], "max_tokens": 60}'


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    def save(kind: str) -> TokenizerFile:
        path = tmp_path / "tokenizer.json"
        built_tokenizer(kind).save(str(path))
        return TokenizerFile(path)

    return save


@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_counted_by_the_tokenizer_and_special_tokens_as_one(saved: Saved, kind: str) -> None:
    dialect = dialect_named("vllm")("model", 1000, 0)
    generation = dialect.read(BODY % b"Name three rivers, please!", {})
    found = saved(kind).applied(generation, dialect).prompt
    tokenizer = built_tokenizer(kind)
    texts = ("user", "\n\nName three rivers, please!", "assistant", "\n\n")
    assert len(found) == 6 + sum(token_count(tokenizer, text) for text in texts)


def test_a_prompt_that_fills_the_context_is_refused(saved: Saved) -> None:
    tokenizer, body = saved("WordPiece"), BODY % (b"." * 60)
    roomy = dialect_named("vllm")("model", 1000, 0)
    tokens = len(tokenizer.applied(roomy.read(body, {}), roomy).prompt)
    narrow = dialect_named("vllm")("model", tokens + 10, 0)
    assert tokenizer.applied(narrow.read(body, {}), narrow).max_tokens == 10
    full = dialect_named("vllm")("model", tokens, 0)
    with pytest.raises(Refusal) as refused:
        tokenizer.applied(full.read(body, {}), full)
    assert refused.value.page.status == 400


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(SimulatorError, match="--tokenizer takes a tokenizer.json"):
        TokenizerFile(path)

"""vLLM's generator file: first prompts of conversations, of the lengths that it describes."""

import json
from pathlib import Path
from typing import Any

import pytest

from tokenswarm.prompts import PromptError, PromptSet, load_prompts
from tokenswarm.prompts.counting import TokenCounter

WORDS = TokenCounter("words", lambda text: len(text.split()))
EXAMPLE = (
    '{"filetype":"generate_conversations","num_conversations":24,"text_files":["pg1184.txt"],"prompt_input":{"num_turns"'
    ':{"distribution":"uniform","min":12,"max":18},"prefix_num_tokens":{"distribution":"lognormal","average":1000,'
    '"max":5000},"num_tokens":{"distribution":"uniform","min":120,"max":160}},"prompt_output":{"num_tokens":'
    '{"distribution":"uniform","min":80,"max":120}}}'
)
BOOK = " ".join(f"w{number}" for number in range(3000))


def load(folder: Path, text: str = EXAMPLE, seed: int = 1, book: str | None = BOOK) -> PromptSet:
    if book is not None:
        (folder / "pg1184.txt").write_text(book)
    (folder / "chats.json").write_text(text)
    return load_prompts(str(folder / "chats.json"), tokens_min=1, tokens_max=100_000, counter=WORDS, seed=seed)


def changed(part: str, name: str, value: Any) -> str:
    document = json.loads(EXAMPLE)
    (document[part] if part else document)[name] = value
    return json.dumps(document)


def test_the_example_makes_prompts_of_its_lengths(tmp_path: Path) -> None:
    prompts = load(tmp_path)
    lengths = [prompt.tokens for prompt in prompts.prompts]
    assert len(lengths) == 24
    assert all(121 <= length <= 5160 for length in lengths)
    assert 600 < sum(lengths) / 24 < 1800  # 1,140 is the mean
    answers = [prompt.max_tokens for prompt in prompts.prompts]
    assert all(answer is not None and 80 <= answer <= 120 for answer in answers)
    assert len(set(answers)) > 5
    assert len({prompt.text for prompt in prompts.prompts}) == 24
    assert set(prompts.prompts[0].text.split()) <= set(BOOK.split())
    assert 24 * 5 <= prompts.left_out.unused["later turns"] <= 24 * 8


def test_all_of_it_follows_from_the_seed(tmp_path: Path) -> None:
    first, same, other = (load(tmp_path, seed=seed).fingerprint for seed in (1, 1, 2))
    assert first == same
    assert first != other


@pytest.mark.parametrize(
    ("distribution", "least", "most"),
    [
        ({"distribution": "constant", "value": 7}, 7, 7),
        ({"distribution": "uniform", "min": 3, "max": 5}, 3, 5),
        ({"distribution": "zipf", "alpha": 1.5, "max": 30}, 1, 30),
        ({"distribution": "poisson", "alpha": 9, "max": 30}, 1, 30),
        ({"distribution": "lognormal", "mean": 2, "sigma": 0.5, "max": 40}, 1, 40),
    ],
)
def test_each_distribution_is_drawn_from(tmp_path: Path, distribution: Any, least: int, most: int) -> None:
    prompts = load(tmp_path, changed("prompt_output", "num_tokens", distribution)).prompts
    answers = [prompt.max_tokens or 0 for prompt in prompts]
    assert least <= min(answers) <= max(answers) <= most
    assert least == most or len(set(answers)) > 1


def test_a_common_prefix_is_shared_and_a_short_text_repeats(tmp_path: Path) -> None:
    common = {"distribution": "constant", "value": 50}
    prompts = load(tmp_path, changed("prompt_input", "common_prefix_num_tokens", common), book="a b c").prompts
    assert len({prompt.text.partition("\n\n")[0] for prompt in prompts}) == 1
    assert len(prompts[0].text.partition("\n\n")[0].split()) == 50
    assert max(prompt.tokens for prompt in prompts) > 171


@pytest.mark.parametrize(
    "text",
    [
        changed("", "num_conversations", 0),
        changed("", "filetype", "other"),
        changed("", "text_files", []),
        changed("", "text_files", ["none.txt"]),
        changed("", "odd", 1),
        changed("prompt_output", "num_tokens", {"distribution": "uniform", "min": 9, "max": 8}),
        changed("prompt_output", "num_tokens", {"distribution": "zipf", "alpha": 2}),
        changed("prompt_output", "num_tokens", {"distribution": "lognormal"}),
        changed("prompt_output", "num_tokens", {"distribution": "lognormal", "mean": 12, "sigma": 0.1, "max": 3}),
        changed("prompt_output", "num_tokens", 8),
        EXAMPLE + EXAMPLE,
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(PromptError) as caught:
        load(tmp_path, text)
    assert "chats.json': expected " in str(caught.value)


@pytest.mark.parametrize("book", ["", " \n"])
def test_a_text_without_words_is_refused(tmp_path: Path, book: str) -> None:
    with pytest.raises(PromptError, match="expected text in text_files"):
        load(tmp_path, book=book)

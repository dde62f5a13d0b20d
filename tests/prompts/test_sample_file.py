"""The packaged prompts: what `--prompts sample` promises."""

import json
from collections import Counter

import pytest

from tokenswarm.prompts import PromptSet, load_prompts, token_counter
from tokenswarm.prompts.sources import SAMPLE_FILE

DOLLY_CATEGORIES = {
    "open_qa",
    "general_qa",
    "closed_qa",
    "classification",
    "information_extraction",
    "summarization",
    "brainstorming",
    "creative_writing",
}
NEEDS_CONTEXT = {"closed_qa", "information_extraction", "summarization"}


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    return [json.loads(line) for line in SAMPLE_FILE.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def usual() -> PromptSet:
    return load_prompts("sample", tokens_min=30, tokens_max=150, counter=token_counter(None))


def test_the_rows_have_dollys_columns_and_nothing_else(rows: list[dict[str, str]]) -> None:
    assert {tuple(row) for row in rows} == {("instruction", "context", "response", "category")}
    assert all(isinstance(cell, str) and cell == cell.strip() for row in rows for cell in row.values())


def test_all_eight_categories_are_well_represented(rows: list[dict[str, str]]) -> None:
    counts = Counter(row["category"] for row in rows)
    assert set(counts) == DOLLY_CATEGORIES
    assert min(counts.values()) >= 30


def test_a_context_is_there_where_the_task_needs_one(rows: list[dict[str, str]]) -> None:
    for row in rows:
        assert bool(row["context"]) == (row["category"] in NEEDS_CONTEXT) or row["category"] == "classification"


def test_every_row_has_a_short_answer(rows: list[dict[str, str]]) -> None:
    assert all(1 <= len(row["response"].split()) <= 15 for row in rows)


def test_no_text_comes_twice(rows: list[dict[str, str]]) -> None:
    assert len({row["instruction"] for row in rows if not row["context"]}) == sum(not row["context"] for row in rows)
    contexts = [row["context"] for row in rows if row["context"]]
    assert len(set(contexts)) == len(contexts)


def test_at_least_290_prompts_have_the_usual_length(usual: PromptSet) -> None:
    assert len(usual.prompts) >= 290
    facts = usual.facts()
    assert (facts["source"], facts["count"]) == ("sample", len(usual.prompts))
    assert 30 <= facts["tokens_min"] <= facts["tokens_max"] <= 150  # type: ignore[operator]


def test_lengths_fall_off_as_dollys_do(usual: PromptSet) -> None:
    """About half of the prompts have 30 to 60 tokens, a third 60 to 100, and the rest up to 150."""
    lengths = [prompt.tokens for prompt in usual.prompts]
    short = sum(length < 60 for length in lengths) / len(lengths)
    middle = sum(60 <= length < 100 for length in lengths) / len(lengths)
    assert 0.45 <= short <= 0.55
    assert 0.28 <= middle <= 0.38


def test_the_sample_needs_no_data_set_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    assert load_prompts("sample", tokens_min=1, tokens_max=999, counter=token_counter(None)).facts()["count"] == 310

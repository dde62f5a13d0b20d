"""Prompts from the Hugging Face hub, through the real `datasets`, from a hub cache laid out on disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.runs.harness import RunLocust

pytestmark = pytest.mark.slow

_NAME = "databricks-dolly-15k"
_COMMIT = "0123456789abcdef0123456789abcdef01234567"


def words(number: int) -> str:
    return " ".join(["word"] * number)


def dolly_rows() -> Iterator[dict[str, str]]:
    for number in count(30):
        yield {"instruction": words(number), "context": words(20), "response": "", "category": "closed_qa"}


@pytest.fixture
def hub_cache(tmp_path: Path) -> Path:
    """HF_HOME with one data set: twenty rows of our own in dolly's schema, as the hub's client lays them out."""
    repository = tmp_path / "hf" / "hub" / f"datasets--databricks--{_NAME}"
    snapshot = repository / "snapshots" / _COMMIT
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(_COMMIT)
    rows = [row for row, _ in zip(dolly_rows(), range(20))]
    (snapshot / f"{_NAME}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "hf"


def test_dolly_is_read_with_its_context_from_the_hub_s_cache(run_locust: RunLocust, hub_cache: Path) -> None:
    env = {"HF_HOME": str(hub_cache), "HF_HUB_OFFLINE": "1"}
    run = run_locust("-u", "1", "-t", "2s", "--prompts", "dolly", "--max-tokens", "4", env=env)
    assert run.exit_code == 0, run.output
    facts = run.document["prompts"]
    assert facts["source"] == "dolly"
    assert facts["count"] == 20
    assert facts["token_counting"].startswith("estimate")
    assert 50 <= facts["tokens_min"] <= facts["tokens_max"] <= 80


def test_a_data_set_that_cannot_be_had_stops_the_run_with_the_ways_out(run_locust: RunLocust, tmp_path: Path) -> None:
    env = {"HF_HOME": str(tmp_path / "empty"), "HF_HUB_OFFLINE": "1"}
    run = run_locust("-u", "1", "-t", "3s", "--prompts", "dolly", env=env)
    assert run.exit_code == 2
    assert "--prompts sample" in run.output
    assert "Traceback" not in run.output
    assert not list(run.results.glob("*/run.json"))


def test_a_data_set_that_no_parser_survives_stops_the_run_in_a_sentence(run_locust: RunLocust, hub_cache: Path) -> None:
    (rows,) = hub_cache.rglob("*.jsonl")
    rows.write_text('{"instruction":' + "[" * 200_000 + "]" * 200_000 + "}\n")
    env = {"HF_HOME": str(hub_cache), "HF_HUB_OFFLINE": "1"}
    run = run_locust("-u", "1", "-t", "3s", "--prompts", "dolly", env=env)
    assert run.exit_code == 2
    assert f"({_NAME}.jsonl has JSON nested deeper than 200 levels)" in run.output
    assert "Traceback" not in run.output
    assert not list(run.results.glob("*/run.json"))

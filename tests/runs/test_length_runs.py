"""Whole runs with requested lengths: what the server counted is what was requested, and is recorded as such."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.prompts.synthetic.built_tokenizers import KINDS, built_tokenizer
from tests.runs.harness import Run, RunLocust, StartSimulator

pytestmark = pytest.mark.slow
SERVER = ("--profile", "fast", "--max-model-len", "16384")
SHORT = ("-u", "3", "-r", "3", "-t", "3s")
MIXED = "pairs:128/8:2 1024/16:2 8192/4"


def differences(run: Run) -> tuple[Counter[int], Counter[int]]:
    """actual − requested, of input and output, of the ok requests."""
    rows = [row for row in run.requests if row["outcome"] == "ok"]
    return (
        Counter(int(row["prompt_tokens"]) - int(row["input_tokens_requested"]) for row in rows),
        Counter(int(row["output_tokens"]) - int(row["output_tokens_requested"]) for row in rows),
    )


#: Texts of all kinds are in tests/prompts/synthetic; the other runs are in `make chaos`.
RUNS = [*(pytest.param(kind, False, marks=pytest.mark.chaos) for kind in (KINDS[0], KINDS[2])),
        (KINDS[1], False), (KINDS[0], True)]  # fmt: skip


@pytest.mark.parametrize(("kind", "with_tokenizer"), RUNS)
def test_the_server_counts_what_was_requested(
    run_locust: RunLocust, start_simulator: StartSimulator, tmp_path: Path, kind: str, with_tokenizer: bool
) -> None:
    file = str(tmp_path / "tokenizer.json")
    built_tokenizer(kind).save(file)
    simulator = start_simulator(*SERVER, "--tokenizer", file)
    given = ("--tokenizer", file) if with_tokenizer else ()
    workers = () if with_tokenizer else ("--processes", "2")
    run = run_locust("-H", simulator.host, *SHORT, "--input-tokens", MIXED, "--ignore-eos", *given, *workers)
    ok = [row for row in run.requests if row["outcome"] == "ok"]
    assert len(ok) > 10, run.output
    for found in differences(run):
        assert set(found) == {0}
    pairs = {(row["input_tokens_requested"], row["output_tokens_requested"]) for row in ok}
    assert pairs <= {("128", "8"), ("1024", "16"), ("8192", "4")}
    # Of the server's log, all but the few requests before the load.
    by_server = Counter((row["prompt_tokens"], row["tokens"]) for row in simulator.truth())
    by_client = Counter((row["prompt_tokens"], row["output_tokens"]) for row in ok)
    assert by_client <= by_server
    assert (by_server - by_client).total() <= 50
    # No request is sent by two workers, and none twice.
    assert len({row["prompt_id"] for row in run.requests}) == len(run.requests)
    assert len({row["prompt_hash"] for row in run.requests}) == len(run.requests)
    (level,) = run.summary["levels"]
    for name in ("input_lengths", "output_lengths"):
        lengths = level["hold"][name]
        assert (lengths["equal_share"], lengths["difference_max"], lengths["deviating_share"]) == (1, 0, 0)
    facts = run.document["prompts"]
    assert facts["requested_lengths"] == "input and output"
    assert facts["token_counting"] == ("tokenizer" if with_tokenizer else "usage")


def test_lengths_are_those_of_prompt_and_system_prompt_together(
    run_locust: RunLocust, start_simulator: StartSimulator
) -> None:
    simulator = start_simulator(*SERVER)
    ladder = ("--levels", "2", "--level-time", "3s", "--ramp", "1s", "--settle", "0s", "--system-prompt", "both")
    run = run_locust("-H", simulator.host, *ladder, "--input-tokens", "u(700,900)", "--output-tokens", "4")
    assert {row["system_prompt"] for row in run.requests} == {"off", "on"}, run.output
    assert [set(found) for found in differences(run)] == [{0}, {0}]
    facts = run.document["prompts"]
    assert facts["head_tokens_on"] > facts["head_tokens_off"] + 100


def test_an_engine_without_exact_lengths_makes_the_run_suspect(
    run_locust: RunLocust, start_simulator: StartSimulator
) -> None:
    simulator = start_simulator(*SERVER, "--dialect", "openai", "--answer-median-tokens", "10")
    run = run_locust("-H", simulator.host, *SHORT, "--engine", "openai", "--output-tokens", "100")
    rows = [row for row in run.requests if row["outcome"] == "ok"]
    found = [int(row["output_tokens"]) - int(row["output_tokens_requested"]) for row in rows]
    assert max(found) <= 0
    assert min(found) < 0
    issues = {issue["kind"]: issue["values"] for issue in run.summary["validity"]["issues"]}
    assert issues["output_lengths"]["requested_mean"] == 100
    assert run.summary["levels"][0]["hold"]["input_lengths"] is None
    assert "--output-tokens: openai" in run.output


def test_lengths_that_the_system_prompt_alone_exceeds_start_no_run(
    run_locust: RunLocust, start_simulator: StartSimulator
) -> None:
    simulator = start_simulator(*SERVER)
    run = run_locust("-H", simulator.host, *SHORT, "--system-prompt", "on", "--input-tokens", "128")
    assert run.exit_code == 2, run.output
    assert "--system-prompt off" in run.output
    assert not run.results.exists() or not list(run.results.iterdir())

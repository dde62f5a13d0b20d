"""Whole replays of traces: the recorded lengths at the recorded times, and the prefix-cache hits of the hash ids."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.prompts.traces import trace_examples as examples
from tests.runs.harness import RunLocust, StartSimulator

pytestmark = pytest.mark.slow
SERVER = ("--profile", "fast", "--max-model-len", "16384", "--dialect", "vllm", "--cache-blocks", "20000")


def chats(requests: int, ticks: int) -> list[dict[str, object]]:
    """Rows of a Mooncake trace: chats whose prompts go on from one another, recorded every 3 s."""
    draw = random.Random(5)
    prompts: list[list[int]] = []
    rows: list[dict[str, object]] = []
    fresh = 1
    for number in range(requests):
        before = draw.choice(prompts)[:-1] if prompts and draw.random() < 0.7 else [0]
        added = draw.randint(1, 3)
        ids = [*before, *range(fresh, fresh + added)]
        fresh += added
        prompts.append(ids)
        tokens = (len(ids) - 1) * 512 + draw.randint(1, 511)
        tick_ms = 3000 * (number * ticks // requests)
        rows.append(
            {"timestamp": tick_ms, "input_length": tokens, "output_length": draw.randint(1, 20), "hash_ids": ids}
        )
    return rows


def lines(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("text", "words", "processes"),
    [
        (
            lines(chats(90, 9)),
            ("--trace-speed", "10", "--trace-spread", "poisson"),
            2,
        ),
        (examples.BAILIAN, ("--trace-speed", "4"), 0),
    ],
)
def test_a_replay_has_the_lengths_and_the_hits_of_its_trace(
    run_locust: RunLocust,
    start_simulator: StartSimulator,
    tmp_path: Path,
    text: str,
    words: tuple[str, ...],
    processes: int,
) -> None:
    (file := tmp_path / "trace.jsonl").write_text(text)
    recorded = [json.loads(line) for line in text.splitlines()]
    workers = ("--processes", str(processes)) if processes else ()
    simulator = start_simulator(*SERVER)
    run = run_locust("-H", simulator.host, "--trace", str(file), *words, *workers)
    assert [row["outcome"] for row in run.requests] == ["ok"] * len(recorded), run.output

    # Every row once, with its lengths, on one of the processes.
    by_place = {int(row["prompt_id"]): row for row in run.requests}
    assert sorted(by_place) == list(range(1, len(recorded) + 1))
    lengths = {(row["prompt_tokens"], row["output_tokens"], row["input_tokens_requested"]) for row in by_place.values()}
    assert lengths == {(str(r["input_length"]), str(r["output_length"]), str(r["input_length"])) for r in recorded}
    assert len({row["worker"] for row in run.requests}) == max(1, processes)

    (level,) = run.summary["levels"]
    hold = level["hold"]
    for name in ("input_lengths", "output_lengths"):
        assert (hold[name]["equal_share"], hold[name]["difference_max"]) == (1, 0)
    prompts = hold["prompts"]
    assert prompts["expected_share_min"] - 0.01 <= prompts["cached_share"] <= prompts["expected_share_max"] + 0.01
    assert prompts["cached_share"] > 0.2
    assert prompts["expected_share_max"] - prompts["expected_share_min"] < 0.35

    facts = run.document["prompts"]
    assert (facts["trace_rows"], facts["trace_requests"]) == (len(recorded), len(recorded))
    (planned,) = run.document["plan"]
    assert planned["arrivals"]["file_sha256"] == facts["trace_sha256"]
    assert planned["arrivals"]["trace"]["path"] == str(file)
    assert level["load_audit"]["requested"] == pytest.approx(len(recorded) / planned["level_time_s"], rel=0.01)
    assert "replay of a trace" in run.output
    assert "share their timestamp" not in run.output


def test_a_wrong_row_ends_the_start_with_its_line(run_locust: RunLocust, tmp_path: Path) -> None:
    (file := tmp_path / "trace.csv").write_text(examples.BURSTGPT_NEW + "50,,1,GPT-4,-7,3,1,API log\n")
    run = run_locust("--trace", str(file))
    assert run.exit_code == 2
    assert f"--trace {file}: line 5: expected Request tokens to be a whole number from 1 to 10,000,000, got '-7'" in (
        run.output
    )
    assert "Traceback" not in run.output

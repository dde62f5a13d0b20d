"""Whole runs beside a server with a prefix cache: what it finds there is none of the default's prompts."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

import pytest

from tests.forked_process import run_command
from tests.runs.harness import Run, RunLocust, StartSimulator, environment, read_csv

pytestmark = pytest.mark.slow
#: Slow at computing prompts, so that they queue where there are more users, unless a cache has them.
SERVER = ("--profile", "fast", "--step-ms", "4", "--prefill-tokens-per-s", "3000")
ASKED = ("--max-tokens", "12", "--prompt-tokens", "1:999", "--engine", "vllm")
LADDER = ("--levels", "2,12", "--ramp", "1s", "--level-time", "3s")
SHORT = ("-u", "4", "-r", "4", "-t", "2s")


@pytest.fixture
def prompts(tmp_path: Path) -> tuple[str, str]:
    """A list that a run exhausts at once: nine prompts of some hundred tokens."""
    rows = [{"prompt": " ".join(f"{word}{number}" for word in "abcdefghijklmnopqrst")} for number in range(9)]
    file = tmp_path / "nine.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ("--prompts", str(file))


def cached(run: Run, mode: str) -> list[int]:
    """By the server's usage, of each whole answer."""
    return [
        int(row["cached_tokens"]) for row in run.requests if row["outcome"] == "ok" and row["system_prompt"] == mode
    ]


def ttft_medians(run: Run, mode: str) -> list[float]:
    levels = [level for level in run.summary["levels"] if level["system_prompt"] == mode]
    return [level["hold"]["ttft_s"]["p50"]["value"] for level in levels]


def test_no_prompt_of_a_ladder_is_in_the_cache_and_ttft_rises_with_the_users(
    run_locust: RunLocust, start_simulator: StartSimulator, prompts: tuple[str, str]
) -> None:
    simulator = start_simulator(*SERVER)
    workers = ("--processes", "2")
    run = run_locust("-H", simulator.host, *LADDER, "--system-prompt", "both", *prompts, *ASKED, *workers)
    assert run.exit_code == 0, run.output
    assert len({row["worker"] for row in run.requests}) == 2
    assert len({row["prompt_hash"] for row in run.requests}) == len(run.requests)
    assert {row["prompt_id"] for row in run.requests} == {str(number) for number in range(1, 10)}
    # The two modes warm nothing for each other, and neither does a level for the next.
    assert max(cached(run, "off")) <= 16 < median(cached(run, "on"))
    for mode in ("off", "on"):
        few, many = ttft_medians(run, mode)
        assert many > few
    assert run.document["prompts"]["reuse"] == "never"
    assert run.document["options"]["prompt_nonce"] == run.document["prompts"]["nonce"] != ""
    assert run.document["prompts"]["nonce_source"] == "drawn"
    assert run.summary["prompts"]["repeated"] == 0
    assert all(level["hold"]["server"]["prefix_cache_hit_ratio"] < 0.1 for level in run.summary["levels"][:2])
    assert "PROMPTS REPEAT" not in run.output
    assert "PREFIX-CACHE HITS" not in run.output


def test_repeated_prompts_are_counted_and_said_and_not_compared_with_unique_ones(
    run_locust: RunLocust, start_simulator: StartSimulator, prompts: tuple[str, str], tmp_path: Path
) -> None:
    simulator = start_simulator(*SERVER)
    here = ("-H", simulator.host, *SHORT, *prompts, *ASKED)
    runs = {
        "always": run_locust(*here, "--prompt-reuse", "always", "--results", str(tmp_path / "always"), pictures=True),
        "never": run_locust(*here, "--results", str(tmp_path / "never"), pictures=True),
        "run": run_locust(*here, "--prompt-reuse", "run", "--results", str(tmp_path / "run"), pictures=True),
    }
    folders = {name: next((tmp_path / name).iterdir()) for name in runs}
    summaries = {name: json.loads((folder / "summary.json").read_text()) for name, folder in folders.items()}
    rows = {name: read_csv(folder / "requests.csv") for name, folder in folders.items()}
    assert all(run.exit_code == 0 for run in runs.values()), runs["always"].output

    for name in ("always", "run"):
        assert len({row["prompt_hash"] for row in rows[name]}) == 9
        told = summaries[name]["prompts"]
        assert (told["requests"], told["repeated"]) == (len(rows[name]), len(rows[name]) - 9)
        assert summaries[name]["levels"][0]["hold"]["prompts"]["cached_share"] > 0.5
        page = (folders[name] / "report.html").read_text()
        assert "PROMPTS REPEAT" in runs[name].output
        assert "PREFIX-CACHE HITS" in runs[name].output
        assert f"--prompt-reuse {name}" in page
        assert "Prefix-cache hits." in page
    assert summaries["never"]["prompts"]["repeated"] == 0
    assert summaries["never"]["levels"][0]["hold"]["prompts"]["cached_share"] < 0.02
    # What the cache does: half of the answers of one run began sooner than nearly any of the other.
    medians = {name: summaries[name]["levels"][0]["hold"]["ttft_s"]["p50"]["value"] for name in runs}
    assert medians["always"] < medians["never"]
    # Prompts of one run are none of another's, though both draw the same rows in the same order.
    first_prompts = {name: {row["prompt_id"] for row in rows[name][:9]} for name in runs}
    assert first_prompts["always"] == first_prompts["never"] == first_prompts["run"]
    hashes = {name: {row["prompt_hash"] for row in rows[name]} for name in runs}
    assert not hashes["always"] & hashes["run"]

    both = (str(folders["never"]), str(folders["always"]))
    refused = run_command("gate", *both, "--fail-if", "p50(ttft) > +500%", env=environment())
    assert refused.returncode == 2
    differing = [line.split(":")[0].strip() for line in refused.stderr.splitlines() if line.startswith("  ")]
    assert differing == ["prompt_reuse", "prefix_hits"]


def test_the_same_nonce_sends_the_same_texts_again(
    run_locust: RunLocust, start_simulator: StartSimulator, prompts: tuple[str, str], tmp_path: Path
) -> None:
    simulator = start_simulator("--profile", "fast")
    one_user = ("-H", simulator.host, "-u", "1", "-r", "1", "-t", "2s", *prompts, *ASKED)
    sent = []
    for name in ("one", "two"):
        run = run_locust(*one_user, "--prompt-nonce", "N1", "--results", str(tmp_path / name))
        assert run.exit_code == 0, run.output
        folder = next((tmp_path / name).iterdir())
        sent.append([row["prompt_hash"] for row in read_csv(folder / "requests.csv")])
    both = min(len(sent[0]), len(sent[1]))
    assert both > 2
    assert sent[0][:both] == sent[1][:both]

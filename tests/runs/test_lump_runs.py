"""Answers that come in lumps or without their end mark, in whole runs: each is named, with its numbers, and charted."""

from __future__ import annotations

import pytest

from tests.runs.harness import RunLocust, StartSimulator

# Times distinguish lumps from a late client.
pytestmark = [pytest.mark.slow, pytest.mark.alone]


@pytest.mark.parametrize(
    ("sends", "issue", "arrivals", "has_tpot", "deviations"),
    [
        (("--gather", "16", "--no-done"), "output_bursts", "4", True, "missing_end=1"),
        (("--first-event", "60"), "most_tokens_at_once", "5", False, ""),
        (("--gather", "all"), "most_tokens_at_once", "1", False, ""),
    ],
)
def test_what_comes_in_lumps_is_named_before_and_after_the_load(
    run_locust: RunLocust,
    start_simulator: StartSimulator,
    sends: tuple[str, ...],
    issue: str,
    arrivals: str,
    has_tpot: bool,
    deviations: str,
) -> None:
    server = start_simulator("--dialect", "vllm", "--step-ms", "15", "--jitter", "0", *sends)
    load = ("-u", "4", "-r", "4", "-t", "3s", "--system-prompt", "off", "--max-tokens", "64", "--ignore-eos")
    run = run_locust("-H", server.host, *load, "--headless", "--preflight", "on")
    assert run.exit_code == 0, run.output
    assert len(run.document["requests"]["notices"]) == 1
    ok = [row for row in run.requests if row["outcome"] == "ok"]
    assert len(ok) == sum(row["outcome"] != "cut" for row in run.requests) > 4
    assert {(row["output_tokens"], row["output_tokens_source"]) for row in ok} == {("64", "usage")}
    assert {row["output_arrivals"] for row in ok} == {arrivals}
    assert {bool(row["tpot_ms"]) for row in ok} == {has_tpot}
    assert {row["deviations"] for row in ok} == {deviations}
    (found,) = [each for each in run.summary["validity"]["issues"] if each["kind"] == issue]
    assert run.summary["validity"]["verdict"] == "suspect"
    if issue == "output_bursts":
        assert found["values"]["outputs_per_arrival"] == 16
        assert found["values"]["gap_p50_s"] == pytest.approx(16 * 0.015, rel=0.2)
    else:
        assert found["values"]["responses"] == found["values"]["ok"] == len(ok)
    assert (run.folder / "report.html").exists()
    assert {path.name for path in (run.folder / "charts").iterdir()} == {"ttft.png", "token_rate.png"}

"""The one sentence of a capacity search."""

from __future__ import annotations

from typing import Any

import pytest

from tokenswarm.reports.capacity_sentence import capacity_sentence, probe_sentence
from tokenswarm.reports.html.capacity_section import probe_table
from tokenswarm.run_folder.capacity_figures import CapacityFigures, ProbeFigures, binding_objective
from tokenswarm.run_folder.schema import RequestAccounting, Status, Summary, Validity


def probe(load: float, verdict: str, share: float = 0.97, **changes: Any) -> ProbeFigures:
    facts: dict[str, Any] = {"shares": {"ttft_s": share, "e2e_s": 0.99}, "requests": 800}
    facts |= {"share": share, "share_low": share - 0.02, "share_high": share + 0.02} | changes
    return ProbeFigures(index=round(load), level=f"{load:g}", load=load, verdict=verdict, **facts)


def said(conclusion: str, *probes: ProbeFigures, unit: str = "users", **changes: Any) -> str:
    failed = next((each for each in probes if each.verdict == "fail"), None)
    facts: dict[str, Any] = {
        "best": next((each.load for each in probes if each.verdict == "pass"), None),
        "failing": failed.load if failed else None,
        "binding": binding_objective(failed) if failed else "",
    }
    found = CapacityFigures(
        unit=unit, low=1, high=1000, precision=0.05, share=0.95, conclusion=conclusion, probes=probes, **facts | changes
    )
    return capacity_sentence(
        Summary(
            status=Status.FINISHED,
            engine="vllm",
            model="m",
            host="h",
            validity=Validity("valid"),
            accounting=RequestAccounting(1, 1, 1, complete=True),
            objectives={"ttft_s": 0.5, "e2e_s": 10.0},
            levels=(),
            capacity_search=found,
        )
    )


def test_a_bracket() -> None:
    assert said("bracket", probe(62, "pass"), probe(66, "fail", 0.8)) == (
        "62–65 users (95 % confidence); at 66 users TTFT p95 crosses 500 ms"
    )
    assert said("bracket", probe(62, "pass"), probe(63, "fail", 0.8)).startswith(
        "62 users (95 % confidence); at 63 users"
    )
    assert said("bracket", probe(6.2, "pass"), probe(6.5, "fail", 0.8), unit="requests/s").startswith(
        "6.2–6.5 requests/s (95 % confidence); at 6.5 requests/s TTFT p95 crosses 500 ms"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shares": {"ttft_s": 0.97, "e2e_s": 0.6}}, "E2E time p95 crosses 10 s"),
        ({"failed": 0.2}, "20.0 % of the requests fail"),
        ({"reason": "backlog"}, "more requests arrive than are answered, and the backlog grows"),
        ({"reason": "drift"}, "latencies rise for as long as the load lasts"),
    ],
)
def test_what_binds(changes: dict[str, Any], words: str) -> None:
    assert said("bracket", probe(62, "pass"), probe(66, "fail", 0.8, **changes)).endswith(f"; at 66 users {words}")


def test_no_pass_no_fail_and_no_result() -> None:
    assert said("no_pass", probe(1, "fail", 0.4)) == (
        "no load passes: with 1 user, 40.0 % of the requests are within the SLO, and 95 % are needed"
    )
    assert said("no_fail", probe(1000, "pass")) == (
        "at least 1000 users (95 % confidence): the largest load of --between passes, give a larger one to find the "
        "limit"
    )
    assert said("inconclusive", probe(8, "inconclusive")) == (
        "no result: the probes were too short to decide any load; give a longer --level-time"
    )


def test_a_search_that_was_stopped_has_the_bracket_so_far() -> None:
    assert said("unfinished", probe(32, "pass"), probe(64, "fail", 0.8)).startswith("so far 32–63 users: the search")
    assert said("unfinished").startswith("so far no load decided: ")
    assert said("unfinished", probe(32, "pass")).startswith("so far at least 32 users: ")


def test_a_cliff_a_noisy_server_and_a_load_without_a_verdict() -> None:
    assert said("bracket", probe(62, "pass", 0.99), probe(63, "fail", 0.1)).endswith(
        "; a cliff: the share of good requests falls from 99.0 % to 10.0 %"
    )
    assert said("bracket", probe(62, "pass"), probe(66, "fail", 0.8), unsteady=(62.0,)).endswith(
        "; the server is noisy: probes of 62 users differ by more than chance"
    )
    assert said("bracket", probe(62, "pass"), probe(66, "fail", 0.8), inconclusive=(4.0, 64.0)).endswith(
        "; inconclusive at 64: longer probes (--level-time) may decide it"
    )


def test_the_page_has_the_probes_in_the_order_of_time() -> None:
    probes = (probe(66, "fail", 0.8, reason="drift"), probe(62, "pass", independent=412.4))
    (table,) = probe_table(
        CapacityFigures(unit="users", low=1, high=99, precision=0.05, share=0.95, conclusion="bracket", probes=probes)
    )
    of_hold = ["within ttft, of the whole hold", "within e2e, of the whole hold"]
    assert list(table.headings) == ["load", "verdict", "good, of judged", "judged requests", *of_hold]
    assert "Judged: the requests sent after the server had filled up, until the verdict." in table.caption
    assert "Within: of all requests of the hold" in table.caption
    assert [[(cell.text, cell.note) for cell in row] for row in table.cells] == [
        [
            *(("66 users", ""), ("fail", "latencies rise"), ("80.0 %", "78.0–82.0 %"), ("800", "0")),
            *(("80.0 %", ""), ("99.0 %", "")),
        ],
        [("62 users", ""), ("pass", ""), ("97.0 %", "95.0–99.0 %"), ("800", "412"), ("97.0 %", ""), ("99.0 %", "")],
    ]
    assert list(probe_table(None)) == []


def test_bounds_that_are_not_known_any_more_are_not_named() -> None:
    assert said("bracket", probe(62, "pass"), probe(66, "fail", 0.8), binding="").endswith(
        "; at 66 users less than 95 % of the requests are within the SLO"
    )


def test_a_probe() -> None:
    assert (
        probe_sentence(probe(62, "pass"))
        == "62 users: pass; 97.0 % of 800 judged requests met the SLO (interval 95.0–99.0 %)"
    )

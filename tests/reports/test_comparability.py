"""Runs are compared only where they asked the same; what differs is named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from tokenswarm.reports.compare.comparability import (
    FIELD_NAMES,
    allowed_fields,
    check_comparable,
    differences,
    reasons_unreliable,
)
from tokenswarm.reports.compare.comparison import RunComparison
from tokenswarm.reports.compare.comparison_text import verdict
from tokenswarm.run_folder.capacity_figures import CapacityFigures
from tokenswarm.run_folder.reader import ReportError, Results, load_results

Json = dict[str, Any]
Write = Callable[..., Path]

OPTIONS = {"prompt_tokens": "30:150", "max_tokens": 512, "ignore_eos": False, "system_prompt_file": ""}
PROMPTS = {"source": "sample", "count": 303, "fingerprint": "a1830b8fc965f5d5", "system_prompt_fingerprint": "77aa"}


@pytest.fixture
def a_run(write_run: Write, tmp_path: Path) -> Callable[..., Results]:
    """A results folder as the article's run would leave it, but for these changes of run.json."""
    numbers = iter(range(100))

    def make(*, levels: list[Json] | None = None, summary: Json | None = None, **changes: Any) -> Results:
        run = {"options": OPTIONS, "prompts": PROMPTS} | changes
        folder = write_run(levels, run=run, summary=summary)
        return load_results(shutil.move(folder, tmp_path / f"run-{next(numbers)}"))

    return make


def test_two_runs_of_one_plan_are_comparable_whatever_served_them(a_run: Callable[..., Results]) -> None:
    base = a_run()
    new = a_run(
        host="http://other:9000", engine="lmdeploy", summary={"engine": "lmdeploy", "host": "http://other:9000"}
    )
    assert differences(base, new) == []
    check_comparable([base, new])


@pytest.mark.parametrize(
    ("changes", "field", "told"),
    [
        ({"summary": {"model": "llama-3-70b"}}, "model", ("llama-3-8b", "llama-3-70b")),
        (
            {"prompts": PROMPTS | {"source": "dolly", "count": 9}},
            "prompts",
            ("303 from sample", "9 from dolly"),
        ),
        (
            {"prompts": PROMPTS | {"fingerprint": "bb"}},
            "prompts",
            ("303 from sample", "303 from sample, with other content"),
        ),
        (
            {"prompts": PROMPTS | {"source": "/home/me/mine.csv"}},
            "prompts",
            ("303 from sample", "303 from mine.csv"),
        ),
        (
            {"prompts": PROMPTS | {"system_prompt_fingerprint": "bb"}},
            "system_prompt",
            ("set", "set, with other content"),
        ),
        ({"options": OPTIONS | {"prompt_tokens": "1:9"}}, "prompt_tokens", ("30:150", "1:9")),
        ({"options": OPTIONS | {"max_tokens": 64}}, "max_tokens", ("512", "64")),
        ({"options": OPTIONS | {"ignore_eos": True}}, "ignore_eos", ("off", "on")),
        ({"shape": "free"}, "shape", ("ladder", "free")),
        ({"chat_template": "llama-3"}, "chat_template", ("the server's own", "llama-3")),
        (
            {"prompts": PROMPTS | {"rows_with_model": 5}, "requests": {"row_models": True}},
            "model",
            ("llama-3-8b", "llama-3-8b, or the model that a row names"),
        ),
        (
            {
                "summary": {"model": "a=70% b=30%"},
                "mix": {"models": [{"name": "a", "share": 0.7}, {"name": "b", "share": 0.3}]},
            },
            "model",
            ("llama-3-8b", "a=70% b=30%"),
        ),
        ({"requests": {"endpoint": "completions"}}, "endpoint", ("chat", "completions")),
        (
            {"requests": {"images": [{"source": "/a/cat.png", "width": 64, "height": 48, "sha256": "1a"}]}},
            "images",
            ("none", "cat.png (64×48)"),
        ),
        (
            {"requests": {"body": {"temperature": 0, "store": None}, "body_sha256": "aa"}},
            "body",
            ("store not set, temperature not set", "store left out, temperature 0"),
        ),
        (
            {"prompts": PROMPTS, "requests": {"adaptations": {"system_in_prompt": True}}},
            "system_prompt",
            ("set", "set, before the first user message"),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_differs_is_named_with_both_sides(
    a_run: Callable[..., Results], changes: Json, field: str, told: tuple[str, str]
) -> None:
    base, new = a_run(), a_run(ended_at="2024-06-05T14:39:00Z", **changes)
    (found,) = differences(base, new)
    assert (found.field, found.base, found.new) == (field, *told)
    assert differences(base, new, allowed=[field]) == []


def test_other_levels_and_other_times_are_other_runs(
    a_run: Callable[..., Results], make_level: Callable[..., Json]
) -> None:
    base = a_run(levels=[make_level(0, 10), make_level(1, 50)])
    (fewer,) = differences(base, a_run(levels=[make_level(0, 10)]))
    assert fewer == ("levels", "10, 50 users without system prompt", "10 users without system prompt")
    plan = [
        {"index": stage, "system_prompt": "off", "level": level, "ramp_s": 20.0, "level_time_s": 60.0}
        for stage, level in enumerate(("10", "50"))
    ]
    (shorter,) = differences(base, a_run(levels=[make_level(0, 10), make_level(1, 50)], plan=plan))
    assert shorter == ("level_time", "5 min, of which ramp 20 s", "1 min, of which ramp 20 s")


def test_searches_are_compared_by_what_they_search_and_not_by_the_levels_they_came_to(
    a_run: Callable[..., Results], make_level: Callable[..., Json]
) -> None:
    def searching(*users: int, high: float = 100.0, time: str = "2m") -> Results:
        run = a_run(levels=[make_level(index, number) for index, number in enumerate(users)])
        found = CapacityFigures(
            unit="users", low=1.0, high=high, precision=0.05, share=0.95, conclusion="bracket", best=10.0
        )
        options = run.run.options | {"level_time": time, "ramp": "5s"}
        return structs.replace(
            run,
            summary=structs.replace(run.summary, capacity_search=found),
            run=structs.replace(run.run, options=options),
        )

    base = searching(10, 50)
    assert differences(base, searching(10, 20)) == []
    assert [unlike.field for unlike in differences(base, searching(10, 50, high=50.0))] == ["levels"]
    assert [unlike.field for unlike in differences(base, searching(10, 50, time="1m"))] == ["level_time"]
    assert [unlike.field for unlike in differences(base, a_run(levels=[make_level(0, 10)]))] == ["levels", "level_time"]
    both = RunComparison([base, searching(10, 20)], ["a", "b"])
    first, *_ = verdict(both)
    assert [name for name, _ in first.lines] == ["a", "b"]
    assert all("10 users" in sentence for _, sentence in first.lines)


def test_tokens_counted_in_another_way_are_other_tokens(
    a_run: Callable[..., Results], make_level: Callable[..., Json]
) -> None:
    base = a_run(levels=[make_level(0, 10)])
    new = a_run(levels=[make_level(0, 10, output_tokens_sources={"events": 400})])
    assert differences(base, new) == [("token_counts", "usage", "events")]


def test_the_refusal_names_each_difference_and_the_way_out(a_run: Callable[..., Results]) -> None:
    base, new = a_run(), a_run(options=OPTIONS | {"max_tokens": 64, "ignore_eos": True})
    with pytest.raises(ReportError) as caught:
        check_comparable([base, new])
    message = str(caught.value)
    assert all(words in message for words in ("512 in run-0, 64 in run-1", "--allow max_tokens,ignore_eos"))
    assert str(base.folder.parent) not in message
    assert allowed_fields(["max_tokens,ignore_eos"]) == ["max_tokens", "ignore_eos"]
    check_comparable([base, new], allowed=["max_tokens", "ignore_eos"])


@pytest.mark.parametrize("copied", [True, False])
def test_a_run_is_not_comparable_with_itself(a_run: Callable[..., Results], tmp_path: Path, copied: bool) -> None:
    run = a_run()
    other = shutil.copytree(run.folder, tmp_path / "copy") if copied else run.folder / ".." / run.folder.name
    with pytest.raises(ReportError, match="the same run"):
        check_comparable([run, load_results(other)])


def test_an_unknown_field_to_allow_is_refused(a_run: Callable[..., Results]) -> None:
    with pytest.raises(ReportError) as caught:
        check_comparable([a_run(), a_run(started_at="2024-06-06T14:03:00Z")], allowed=["colour"])
    assert str(caught.value) == f"--allow takes one of {', '.join(FIELD_NAMES)}, suspect, got 'colour'."


@pytest.mark.parametrize(
    ("summary", "reasons"),
    [
        ({}, []),
        ({"validity": {"verdict": "suspect", "reasons": ["the clock ran"]}}, ["the clock ran"]),
        ({"validity": {"verdict": "suspect", "reasons": []}}, ["no reason was recorded"]),
        ({"status": "interrupted"}, ["the run is interrupted"]),
        (
            {"accounting": {"ended": 2, "recorded": 1, "rows": 1, "complete": False}},
            ["not all of its requests are accounted for"],
        ),
    ],
)
def test_a_run_that_is_not_to_be_judged_by_says_why(
    a_run: Callable[..., Results], summary: Json, reasons: list[str]
) -> None:
    assert reasons_unreliable(a_run(summary=summary)) == reasons


def test_of_two_bodies_only_the_fields_that_differ_are_named(a_run: Callable[..., Results]) -> None:
    def run(body: Json, sha256: str) -> Results:
        return a_run(requests={"body": body, "body_sha256": sha256})

    base = run({"temperature": 0.5, "top_p": 0.9, "response_format": {"schema": ["x" * 99]}}, "aa")
    same = run({"temperature": 0.5, "top_p": 0.9, "response_format": {"schema": ["x" * 99]}}, "aa")
    new = run({"temperature": 1, "top_p": 0.9, "response_format": {"schema": ["x" * 99]}}, "bb")
    assert differences(base, same) == []
    assert differences(base, new) == [("body", "temperature 0.5", "temperature 1")]


def test_conversations_are_compared_with_those_of_the_same_kind_of_answers(a_run: Callable[..., Results]) -> None:
    def run_of(**options: str) -> Results:
        return a_run(options=OPTIONS | options, prompts=PROMPTS | {"sessions": 7})

    own, recorded, single = run_of(answers="own"), run_of(answers="recorded"), run_of(turns="last", answers="own")
    assert differences(own, run_of()) == []
    for base, new, words in (
        (own, recorded, ("sessions with own answers", "sessions with recorded answers")),
        (single, own, ("single requests", "sessions with own answers")),
    ):
        assert [(each.field, each.base, each.new) for each in differences(base, new)] == [("turns", *words)]
    synthetic = a_run(options=OPTIONS | {"turns": "8", "answers": "own"})
    assert [each.field for each in differences(synthetic, a_run())] == ["turns"]


def test_users_that_think_are_compared_with_the_same_think_time_alone(a_run: Callable[..., Results]) -> None:
    def of(notation: str, seed: str = "1") -> Results:
        think_time = {"notation": notation, "mean_s": 2.0, "seed": seed}
        return a_run(plan=[{"index": 0, "system_prompt": "off", "level": "10", "users": 10, "think_time": think_time}])

    assert differences(of("exp(2s)"), of("exp(2s)", seed="2")) == []
    found = differences(of("exp(2s)"), of("2s"))
    assert [(each.field, each.base, each.new) for each in found] == [("think_time", "exp(2s)", "2s")]


def test_runs_are_compared_with_the_same_delays_alone(a_run: Callable[..., Results]) -> None:
    recorded, shortened = a_run(options=OPTIONS), a_run(options=OPTIONS | {"longest_delay": "2s"})
    assert differences(shortened, shortened) == []
    found = differences(recorded, shortened)
    assert [(each.field, each.base, each.new) for each in found] == [("longest_delay", "as recorded", "2s")]


def test_runs_are_compared_with_the_same_warm_up_and_number_of_requests(a_run: Callable[..., Results]) -> None:
    def of(warm_up: str, requests: int | None = None) -> Results:
        plan = [{"index": 0, "system_prompt": "off", "level": "10", "users": 10, "requests": requests}]
        plan += [{"index": 1, "system_prompt": "off", "level": "10", "users": 10, "warm_up": True, "requests": 7}]
        return a_run(options={"warm_up": warm_up}, plan=plan)

    assert differences(of("30s"), of("30s")) == []
    found = {each.field: (each.base, each.new) for each in differences(of("30s"), of("", 100))}
    assert set(found) == {"warm_up", "level_time"}
    assert found["warm_up"] == ("30s", "none")


def test_open_loops_are_compared_with_the_same_arrivals_alone(a_run: Callable[..., Results]) -> None:
    def of(process: str, **changes: Any) -> Results:
        arrivals = {"process": process, "rates": [[0.0, 20.0]], "mean_rate": 20.0} | changes
        level = {"index": 0, "system_prompt": "off", "level": "20/s", "level_time_s": 60.0, "arrivals": arrivals}
        return a_run(shape="open", plan=[level])

    base = of("poisson", seed="1")
    assert differences(base, of("poisson", seed="2")) == []
    assert [(each.field, each.base, each.new) for each in differences(base, of("constant", max_in_flight=4))] == [
        ("arrivals", "poisson", "constant, at most 4 in flight")
    ]
    assert {"shape", "arrivals"} <= {each.field for each in differences(base, a_run())}


def test_replays_are_compared_with_the_same_part_of_the_same_trace_alone(a_run: Callable[..., Results]) -> None:
    def of(sha256: str = "1", **replay: Any) -> Results:
        arrivals = {"process": "t.csv", "rates": [], "mean_rate": 2.0, "file_sha256": sha256}
        arrivals["trace"] = {"path": "/data/t.csv", "spread": "off"} | replay
        prompts = {"source": f"trace {replay.get('path', '/data/t.csv')}", "fingerprint": "f", "trace_format": "azure"}
        level = {"index": 0, "system_prompt": "off", "level": "trace", "arrivals": arrivals}
        return a_run(shape="open", plan=[level], prompts=prompts)

    base = of()
    assert differences(base, of(path="/elsewhere/t.csv")) == []
    assert [each.field for each in differences(base, of("2"))] == ["arrivals"]
    options = {"speed": 2.0, "from_s": 60.0, "until_s": 120.0, "sample": 0.1, "spread": "poisson"}
    assert [(each.field, each.base, each.new) for each in differences(base, of(**options))] == [
        ("arrivals", "t.csv", "t.csv, 2 times as fast, from 1 min until 2 min, 10 % of the sessions, poisson spread")
    ]
    (found,) = differences(of(from_s=60.0), of(rate=8.0))
    assert (found.base, found.new) == ("t.csv, from 1 min on", "t.csv, mean rate 8/s")


def test_runs_of_other_kinds_of_load_are_told_which_options_to_repeat_with(a_run: Callable[..., Results]) -> None:
    def opened(**options: str) -> Results:
        arrivals = {"process": "poisson", "rates": [[0.0, 20.0]], "mean_rate": 20.0}
        level = {"index": 0, "system_prompt": "off", "level": "20/s", "level_time_s": 60.0, "arrivals": arrivals}
        return a_run(plan=[level], shape="open", options=OPTIONS | options)

    def remedy(*runs: Results) -> str:
        with pytest.raises(ValueError, match="in common") as caught:
            check_comparable(runs, share_level=False)
        (line,) = [line for line in str(caught.value).splitlines() if "epeat one of them" in line and "--" in line]
        return line

    closed, free = a_run(), a_run(shape="free")
    kinds = [(opened(rate="20"), "--rate"), (opened(session_rate="2"), "--session-rate"), (free, "--users")]
    for run, option in kinds:
        line = remedy(closed, run)
        assert f"{run.folder.name} has {option}" in line
        assert f"{closed.folder.name} has --levels" in line
    assert "other's --levels" in remedy(closed, a_run())
    assert "other's --rate" in remedy(opened(rate="20"), opened(rate="30"))

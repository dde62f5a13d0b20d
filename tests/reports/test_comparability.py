"""Runs are compared only where they asked the same; what differs is named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reports.likeness import FIELD_NAMES, check_alike, differences, reasons_to_doubt
from reports.results import ReportError, Results, load_results

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


def test_two_runs_of_one_plan_are_alike_whatever_served_them(a_run: Callable[..., Results]) -> None:
    base = a_run()
    new = a_run(
        host="http://other:9000", engine="lmdeploy", summary={"engine": "lmdeploy", "host": "http://other:9000"}
    )
    assert differences(base, new) == []
    check_alike([base, new])


@pytest.mark.parametrize(
    ("changes", "field", "told"),
    [
        ({"summary": {"model": "llama-3-70b"}}, "model", ("llama-3-8b", "llama-3-70b")),
        (
            {"prompts": PROMPTS | {"source": "dolly", "count": 9}},
            "prompts",
            ("303 of sample, a1830b8fc965", "9 of dolly, a1830b8fc965"),
        ),
        ({"prompts": PROMPTS | {"system_prompt_fingerprint": "bb"}}, "system_prompt", ("77aa", "bb")),
        ({"options": OPTIONS | {"prompt_tokens": "1:9"}}, "prompt_tokens", ("30:150", "1:9")),
        ({"options": OPTIONS | {"max_tokens": 64}}, "max_tokens", ("512", "64")),
        ({"options": OPTIONS | {"ignore_eos": True}}, "ignore_eos", ("off", "on")),
        ({"shape": "free"}, "shape", ("ladder", "free")),
        ({"chat_template": "llama-3"}, "chat_template", ("the server's own", "llama-3")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_differs_is_named_with_both_sides(
    a_run: Callable[..., Results], changes: Json, field: str, told: tuple[str, str]
) -> None:
    base, new = a_run(), a_run(**changes)
    (found,) = differences(base, new)
    assert (found.field, found.base, found.new) == (field, *told)
    assert differences(base, new, allowed=[field]) == []


def test_other_levels_and_other_times_are_other_runs(
    a_run: Callable[..., Results], make_level: Callable[..., Json]
) -> None:
    base = a_run(levels=[make_level(0, 10), make_level(1, 50)])
    (fewer,) = differences(base, a_run(levels=[make_level(0, 10)]))
    assert fewer == ("levels", "10/off 50/off", "10/off")
    plan = [
        {"stage": stage, "system_prompt": "off", "level": level, "ramp_s": 20.0, "level_time_s": 60.0}
        for stage, level in enumerate(("10", "50"))
    ]
    (shorter,) = differences(base, a_run(levels=[make_level(0, 10), make_level(1, 50)], plan=plan))
    assert shorter == ("level_time", "20 s ramp of 300 s", "20 s ramp of 60 s")


def test_tokens_counted_in_another_way_are_other_tokens(
    a_run: Callable[..., Results], make_level: Callable[..., Json]
) -> None:
    base = a_run(levels=[make_level(0, 10)])
    new = a_run(levels=[make_level(0, 10, output_tokens_sources={"events": 400})])
    assert differences(base, new) == [("token_counts", "usage", "events")]


def test_the_refusal_names_each_difference_and_the_way_out(a_run: Callable[..., Results]) -> None:
    base, new = a_run(), a_run(options=OPTIONS | {"max_tokens": 64, "ignore_eos": True})
    with pytest.raises(ReportError) as caught:
        check_alike([base, new])
    assert str(caught.value) == (
        f"{base.folder} and {new.folder} did not ask the same: they differ in max_tokens (512 and 64); ignore_eos (off "
        "and on). Repeat one of them, or say --allow max_tokens --allow ignore_eos to compare them all the same."
    )
    check_alike([base, new], allowed=["max_tokens", "ignore_eos"])


def test_an_unknown_field_to_allow_is_refused(a_run: Callable[..., Results]) -> None:
    with pytest.raises(ReportError) as caught:
        check_alike([a_run(), a_run()], allowed=["colour"])
    assert str(caught.value) == f"--allow takes one of {', '.join(FIELD_NAMES)}, suspect, got 'colour'."


@pytest.mark.parametrize(
    ("summary", "reasons"),
    [
        ({}, []),
        ({"validity": {"verdict": "suspect", "reasons": ["the clock ran"]}}, ["the clock ran"]),
        ({"validity": {"verdict": "suspect", "reasons": []}}, ["no reason was recorded"]),
        ({"status": "interrupted"}, ["the run is interrupted"]),
        ({"books": {"fired": 2, "recorded": 1, "rows": 1, "balanced": False}}, ["its books do not balance"]),
    ],
)
def test_a_run_that_is_not_to_be_judged_by_says_why(
    a_run: Callable[..., Results], summary: Json, reasons: list[str]
) -> None:
    assert reasons_to_doubt(a_run(summary=summary)) == reasons

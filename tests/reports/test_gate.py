"""`tokenswarm gate`: a real change for the worse fails, chance does not, and unlike runs are not compared."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.reports.folders import Course, write_folder
from tokenswarm.metrics.intervals import Estimate
from tokenswarm.reports import units
from tokenswarm.reports.checks.check_report import CheckStatus
from tokenswarm.reports.checks.conditions import Figure, parse_conditions
from tokenswarm.reports.compare.gate_command import add_arguments, check_change, format_change, main
from tokenswarm.reports.stats.changes import change_between
from tokenswarm.reports.stats.estimates import RunData
from tokenswarm.run_folder.reader import load_results

Folder = Callable[..., Path]
PASS, FAIL, INCONCLUSIVE = CheckStatus.PASS, CheckStatus.FAIL, CheckStatus.INCONCLUSIVE
SUSPECT = {"validity": {"verdict": "suspect", "reasons": ["the client lagged"]}}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Write a run of these levels, by default one of 10 users; each of another seed."""
    numbers = iter(range(1, 100))

    def write(*courses: Course, **changes: object) -> Path:
        number = next(numbers)
        return write_folder(tmp_path / f"run-{number}", courses or (Course(),), number, **changes)

    return write


def verdicts(conditions: str, base: Path | list[Path], new: Path | list[Path], **how: float) -> list[CheckStatus]:
    sides = [side if isinstance(side, list) else [side] for side in (base, new)]
    runs = [[load_results(run) for run in side] for side in sides]
    checks = check_change(parse_conditions(conditions, relative=True), *runs, **how)
    return [result.status for result in checks.check_results]


@pytest.mark.parametrize(
    ("condition", "change"),
    [
        ("ttft_p95 > +5%", Course(ttft_s=0.3)),
        ("p50(ttft) > +5%", Course(ttft_s=0.3)),
        ("mean(ttft) > +5%", Course(ttft_s=0.3)),
        ("rate < -5%", Course(token_rate=2400)),
        ("failures > +1%", Course(failures=40)),
        ("p50(e2e) > +10%", Course(tpot_s=0.03)),
        ("user_rate_p50 < -10%", Course(tpot_s=0.03)),
        ("request_rate < -10%", Course(requests=250)),
    ],
)
def test_a_real_change_beyond_the_bound_is_broken_and_none_is_met(
    condition: str, change: Course, folder: Folder
) -> None:
    base, same, worse = folder(), folder(), folder(change)
    assert verdicts(condition, base, same) == [PASS]
    assert verdicts(condition, base, worse) == [FAIL]
    assert verdicts(condition, worse, base) == [PASS]  # better is not worse


def test_a_real_change_within_the_bound_is_met(folder: Folder) -> None:
    assert verdicts("rate < -15%", folder(), folder(Course(token_rate=2700))) == [PASS]


@pytest.mark.slow
def test_runs_of_one_server_are_told_apart_one_time_in_twenty_at_most(folder: Folder) -> None:
    """A bound of nothing: every difference that is called one breaks it."""
    found = [
        verdict
        for _ in range(40)
        for verdict in verdicts("p50(ttft) > +0%, p95(ttft) > +0%, rate < -0%", folder(), folder())
    ]
    assert found.count(FAIL) <= 0.05 * len(found)


def test_a_change_that_the_sample_is_too_small_to_tell_is_undecided(folder: Folder) -> None:
    base, new = folder(Course(requests=100)), folder(Course(requests=100, ttft_s=0.4))
    assert verdicts("p99(ttft) > +5%", base, new) == [INCONCLUSIVE]
    assert verdicts("p50(ttft) > +5%", base, new) == [FAIL]


@pytest.mark.parametrize(
    ("name", "count", "sample"),
    [
        (
            "rate",
            1,
            "1 complete 5-second window; make the hold 65 s or longer",
        ),
        ("rate", 12, "12 complete 5-second windows"),
        ("ttft", 1, "1 request"),
    ],
)
def test_a_sample_of_one_is_singular(name: str, count: int, sample: str) -> None:
    assert (
        format_change(Figure(name), Estimate(0.071, None, None, count)) == f"+7.1 %, {units.SAMPLE_TOO_SMALL}: {sample}"
    )


def test_a_figure_that_one_run_has_not_is_undecided(folder: Folder) -> None:
    assert verdicts("goodput < -1%", folder(), folder()) == [INCONCLUSIVE]


def test_levels_are_compared_with_their_own_kind(folder: Folder) -> None:
    base = folder(Course(10), Course(50), Course(50, "on"))
    new = folder(Course(10), Course(50, ttft_s=0.3), Course(50, "on"))
    assert verdicts("p50(ttft) > +5%", base, new) == [PASS, FAIL, PASS]
    assert verdicts("p50(ttft)@50/on > +5%", base, new) == [PASS]


# As a person calls it.


def gate(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    parser = ArgumentParser()
    add_arguments(parser)
    code = main(parser.parse_args(list(map(str, arguments))))
    told = capsys.readouterr()
    return code, told.out, told.err


def test_the_link_to_the_newest_run_is_no_run_of_its_own(
    folder: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A shell's `results/*` names it too."""
    base, new = folder(), folder()
    (tmp_path / "latest").symlink_to(new.name)
    sides = ("--base", base, "--new", new, tmp_path / "latest", "--fail-if", "ttft_p95 > +50%")
    code, out, _ = gate(capsys, *sides)
    assert (code, out.count(str(new)), "latest" in out) == (0, 1, False)


def test_met_is_0_and_broken_is_5_and_the_files_say_the_same(
    folder: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # a line a result
    base, same, worse = folder(), folder(), folder(Course(ttft_s=0.3))
    assert gate(capsys, base, same, "--fail-if", "ttft_p95 > +5%")[0] == 0
    junit, markdown = tmp_path / "junit.xml", tmp_path / "gate.md"
    files = ("--junit", junit, "--markdown", markdown)
    code, out, err = gate(capsys, base, worse, "--fail-if", "ttft_p95 > +5%", "--fail-if", "rate < -5%", *files)
    assert (code, err) == (5, "")
    broken, met = [line.split() for line in out.splitlines() if line.startswith("  ")]
    assert broken[:6] == ["FAIL", "fail", "if", "ttft_p95", ">", "+5%"]
    assert met[:6] == ["pass", "fail", "if", "rate", "<", "-5%"]
    failures = list(ET.parse(junit).iter("failure"))
    assert len(failures) == 1
    told = failures[0].attrib["message"]
    assert told in out
    assert f"| {told} |" in markdown.read_text(encoding="utf-8")
    assert markdown.read_text(encoding="utf-8").startswith(
        f"## Tokenswarm gate: {worse.name} against {base.name}, 1 of 2 conditions failed"
    )


def test_several_runs_a_side_are_judged_by_how_they_differ(
    folder: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same two means, told apart or not by the spread of the runs; the files name every run."""
    bound = ("--fail-if", "p50(ttft) > +5%")
    base = [folder() for _ in range(3)]
    close, scattered = (
        [folder(Course(ttft_s=ttft_s)) for ttft_s in values] for values in ((0.24, 0.24, 0.24), (0.16, 0.24, 0.32))
    )
    markdown = tmp_path / "gate.md"
    code, out, _ = gate(capsys, "--base", *base, "--new", *close, *bound, "--markdown", markdown)
    assert code == 5
    assert all(str(run) in out for run in (*base, *close))
    assert all(run.name in markdown.read_text(encoding="utf-8") for run in (*base, *close))
    assert "assumed" not in out
    assert gate(capsys, "--base", *base, "--new", *scattered, *bound)[0] == 0


def test_one_run_a_side_says_what_it_assumes_and_what_only_that_explains_is_3(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    base, new = folder(), folder(Course(ttft_s=0.22))
    bound = ("--fail-if", "p50(ttft) > +5%")
    code, out, _ = gate(capsys, base, new, *bound)
    assert code == 3
    assert "INCONCLUSIVE" in out
    assert "--run-variation" in out
    assert "standard deviation of 5 %" in " ".join(out.split())
    assert gate(capsys, base, new, *bound, "--run-variation", "0%")[0] == 5
    assert gate(capsys, base, folder(Course(ttft_s=0.4)), *bound)[0] == 5


def test_a_suspect_run_among_several_is_3(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [folder(), folder(), folder(summary=SUSPECT), folder()]
    assert gate(capsys, "--base", *runs[:2], "--new", *runs[2:], "--fail-if", "rate < -5%")[0] == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ["one"],
        ["one", "two", "three"],
        ["one", "--base", "two", "--new", "three"],
        ["--base", "one"],
        ["--base", "one", "one", "--new", "two"],
        ["one", "two", "--run-variation", "much"],
        ["one", "two", "--run-variation", "101%"],
    ],
    ids=" ".join,
)
def test_runs_that_are_not_given_as_two_sides_are_2_and_one_sentence(
    arguments: list[str], folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = {name: str(folder()) for name in ("one", "two", "three")}
    code, out, err = gate(capsys, *(runs.get(word, word) for word in arguments), "--fail-if", "rate < -5%")
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_runs_whose_prompts_a_cache_held_and_did_not_hold_are_2_with_both_shares(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    cold, warm = (folder(Course(hits=hits)) for hits in (0.03, 0.89))
    bound = ("--fail-if", "p50(ttft) > +5%")
    code, _, err = gate(capsys, cold, warm, *bound)
    assert code == 2
    assert f"prefix_hits: 3.0 % at 10 users in {cold.name}, 89.0 % at 10 users in {warm.name}" in err
    code, out, _ = gate(capsys, cold, warm, *bound, "--allow", "prefix_hits")
    assert code == 0
    assert "PREFIX-CACHE HITS" in out
    with_prompt = [folder(Course(system_prompt="on", hits=hits)) for hits in (0.03, 0.89)]
    code, out, _ = gate(capsys, *with_prompt, *bound)
    assert code == 0
    assert "3.0 % and 89.0 %" in out


def test_a_suspect_run_is_3_whichever_of_the_two_it_is_unless_it_is_allowed(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    sound, suspect = folder(), folder(summary=SUSPECT)
    for pair in ((sound, suspect), (suspect, sound)):
        code, out, _ = gate(capsys, *pair, "--fail-if", "rate < -5%")
        assert code == 3
        assert f"SUSPECT: {suspect.name}: the client lagged" in " ".join(out.split())
        assert "  pass  " not in out
        assert "--allow suspect" in out


@pytest.mark.parametrize("other_reasons", [[], ["the client lagged"]], ids=["failed", "failed and suspect"])
@pytest.mark.parametrize("base_is_suspect", [False, True])
def test_a_failed_run_is_called_failed_and_is_to_be_repeated_not_allowed(
    folder: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str], other_reasons: list[str], base_is_suspect: bool
) -> None:
    reasons = ["worker 1 was lost", *other_reasons]
    issues = [{"kind": "run_failed", "message": reasons[0]}]
    validity = {"verdict": "suspect", "reasons": reasons, "issues": issues}
    base = folder(summary=SUSPECT) if base_is_suspect else folder()
    new = folder(run={"status": "failed"}, summary={"status": "failed", "validity": validity})
    junit, markdown = tmp_path / "junit.xml", tmp_path / "gate.md"
    code, out, _ = gate(capsys, base, new, "--fail-if", "rate < -5%", "--junit", junit, "--markdown", markdown)
    words = " ".join(out.split())
    assert code == 3
    assert [f"FAILED: {new.name}: {reason}" in words for reason in reasons] == [True] * len(reasons)
    assert f"SUSPECT: {new.name}" not in words
    assert (f"SUSPECT: {base.name}: the client lagged" in words) == base_is_suspect
    error = next(ET.parse(junit).iter("error")).attrib
    assert (error["type"], f"failed: {new.name}: {reasons[0]}" in error["message"]) == ("unreliable", True)
    for text in (words, markdown.read_text(encoding="utf-8")):
        assert f"The new run {new.name} failed: " in text
        assert "--allow" not in text


@pytest.mark.parametrize("status", ["recovered", "interrupted"])
def test_a_run_without_an_end_is_to_be_repeated_though_it_is_suspect_too(
    folder: Folder, capsys: pytest.CaptureFixture[str], status: str
) -> None:
    new = folder(run={"status": status}, summary={"status": status, **SUSPECT})
    code, out, _ = gate(capsys, folder(), new, "--fail-if", "rate < -5%")
    assert code == 3
    assert f"{new.name} is {status}: run it again" in " ".join(out.split())
    assert "--allow" not in out


def test_a_suspect_run_is_not_offered_to_be_allowed_where_that_would_decide_nothing(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = folder(Course(failures=399), summary=SUSPECT)
    code, out, _ = gate(capsys, folder(Course(failures=399)), silent, "--fail-if", "user_rate_p50 < -5%")
    assert (code, "--allow" in out) == (3, False)


def test_a_suspect_run_that_is_allowed_is_named_in_all_outputs(
    folder: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound, suspect = folder(), folder(summary=SUSPECT)
    junit, markdown = tmp_path / "junit.xml", tmp_path / "gate.md"
    outputs = ("--junit", junit, "--markdown", markdown)
    code, out, _ = gate(capsys, sound, suspect, "--fail-if", "rate < -5%", "--allow", "suspect", *outputs)
    assert code == 0
    reason = f"{suspect.name}: the client lagged"
    assert f"SUSPECT: {reason}" in " ".join(out.split())
    (property_,) = ET.parse(junit).iter("property")
    assert property_.attrib == {"name": "suspect", "value": reason}
    heading, *lines = markdown.read_text(encoding="utf-8").splitlines()
    assert "suspect" in heading
    assert any(reason in line for line in lines)


def test_a_run_without_an_answer_is_judged_as_failed_and_not_by_what_it_could_not_count(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    base, new = folder(), folder(Course(failures=399))
    reason = "no request was answered (399 timeout)"
    issues = [{"kind": "run_failed", "message": reason}]
    summary = json.loads((new / "summary.json").read_text())
    summary |= {"status": "failed", "validity": {"verdict": "suspect", "reasons": [reason], "issues": issues}}
    for level in summary["levels"]:
        level["whole"] = level["hold"] | {"outcomes": {"timeout": 399}, "output_tokens_sources": {}}
    base_summary = json.loads((base / "summary.json").read_text())
    for level in base_summary["levels"]:
        level["whole"] = level["hold"] | {"output_tokens_sources": {"usage": 400}}
    (new / "summary.json").write_text(json.dumps(summary))
    (new / "run.json").write_text(json.dumps(json.loads((new / "run.json").read_text()) | {"status": "failed"}))
    (base / "summary.json").write_text(json.dumps(base_summary))
    code, out, err = gate(capsys, base, new, "--fail-if", "rate < -5%")
    assert (code, err) == (3, "")
    words = " ".join(out.split())
    assert f"FAILED: {new.name}: {reason}" in words
    assert "the run is failed" not in words


def test_unlike_runs_are_2_with_the_difference_named_unless_it_is_allowed(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    base, new = folder(run={"options": {"max_tokens": 512}}), folder(run={"options": {"max_tokens": 64}})
    code, out, err = gate(capsys, base, new, "--fail-if", "rate < -5%")
    assert (code, out) == (2, "")
    assert f"max_tokens: 512 in {base.name}, 64 in {new.name}" in err
    assert "--allow max_tokens " in err
    assert gate(capsys, base, new, "--fail-if", "rate < -5%", "--allow", "max_tokens")[0] == 0


def test_all_that_is_wrong_with_the_runs_is_said_at_once(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    base, new, damaged = (folder(run={"options": {"max_tokens": number}}) for number in (512, 64, 512))
    (damaged / "summary.json").write_text("{")
    sides = ("--base", base, "--new", new, damaged, base)
    code, out, err = gate(capsys, *sides, "--fail-if", "rate < -5%")
    assert (code, out) == (2, "")
    errors = err.split("tokenswarm gate: ")[1:]
    told = (str(damaged), "the same run", "max_tokens: 512")
    assert [words in error for words, error in zip(told, errors, strict=True)] == [True] * 3


def test_what_is_malformed_is_2_and_pointed_at(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    base, new = folder(), folder()
    code, _, err = gate(capsys, base, new, "--fail-if", "rate < 5%")
    assert code == 2
    assert err.splitlines()[1:] == ["  rate < 5%", "         ^"]
    code, _, err = gate(capsys, base, new, "--fail-if", "rate@7 < -5%")
    assert code == 2
    assert "'rate@7 < -5%'" in err
    assert "@10/off" in err


def test_runs_without_a_level_in_common_are_2_with_the_levels_of_each(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    base, new = folder(Course(10), Course(50)), folder(Course(20, "on"))
    code, out, err = gate(capsys, base, new, "--fail-if", "rate < -5%", "--allow", "levels,system_prompt,prompts")
    assert (code, out) == (2, "")
    assert f"{base.name}: 10, 50 users without system prompt" in err
    assert f"{new.name}: 20 users with system prompt" in err


def test_a_run_against_itself_is_2(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = folder(), folder()
    for runs in ((one, one), (one, f"{one}/"), ("--base", one, other, "--new", one)):
        code, out, err = gate(capsys, *runs, "--fail-if", "rate < -5%")
        assert (code, out) == (2, "")
        assert "the same run" in err


def test_runs_of_exactly_equal_values_show_no_certain_change(folder: Folder) -> None:
    """Two a side with one value each: how runs vary is not seen, so that no change can be certain."""
    change = change_between([Estimate(1.0, None, None, 3)] * 2, [Estimate(1.1, None, None, 3)] * 2, share=False)
    assert change is not None
    assert (change.estimate.low, change.estimate.high, change.chance) == (None, None, None)


# What the page and a comparison are made of too.


def test_estimates_are_the_summary_s_values_with_intervals_around_them(folder: Folder) -> None:
    measured = RunData(load_results(folder(Course(failures=40))))
    (level,) = measured.results.summary.levels
    assert level.hold.ttft_s.p95 is not None
    for figure, value in (
        (Figure("ttft", "p95"), level.hold.ttft_s.p95.value),
        (Figure("ttft", "mean"), level.hold.ttft_s.mean),
        (Figure("rate"), level.hold.token_rate),
        (Figure("failures"), 0.1),
    ):
        estimate = measured.estimate(level, figure)
        assert estimate is not None
        assert estimate.value == value
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low < estimate.value < estimate.high


def test_a_level_that_falls_and_one_that_does_not(folder: Folder) -> None:
    measured = RunData(load_results(folder(Course(10, fall=0.11), Course(50))))
    falling, steady = (measured.drift(level) for level in measured.results.summary.levels)
    assert falling is not None
    assert steady is not None
    assert (falling.course, steady.course) == ("falls", "steady")
    assert falling.change.value == pytest.approx(-0.09, abs=0.02)


def test_users_served_equally_are_served_fairly(folder: Folder) -> None:
    measured = RunData(load_results(folder()))
    fairness = measured.fairness(measured.results.summary.levels[0])
    assert fairness is not None
    assert (fairness.users, fairness.jain_token_rate) == (10, pytest.approx(1.0, abs=0.001))


def test_the_system_prompt_s_effect_is_told_where_a_level_ran_both_ways(folder: Folder) -> None:
    measured = RunData(load_results(folder(Course(10), Course(50), Course(10, "on", ttft_s=0.4))))
    (effect,) = measured.system_prompt_effects([Figure("ttft", "p50")])
    assert effect.level == "10"
    assert effect.ratio is not None
    assert effect.ratio.low is not None
    assert effect.ratio.high is not None
    assert 1.8 < effect.ratio.low < 2.0 < effect.ratio.high < 2.3

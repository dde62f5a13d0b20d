"""A results folder is read whole, or the reason why not is one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tokenswarm.run_folder.completeness import RUN_LOG
from tokenswarm.run_folder.reader import ReportError, Results, load_results
from tokenswarm.run_folder.schema import FORMAT

Json = dict[str, Any]
Write = Callable[..., Path]


def refusal(folder: Path) -> str:
    with pytest.raises(ReportError) as caught:
        load_results(folder)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    return message


def test_what_the_run_wrote_is_what_is_read(write_run: Write) -> None:
    results = load_results(write_run())
    assert [(level.system_prompt, level.users) for level in results.summary.levels] == [
        (mode, users) for mode in ("off", "on") for users in (10, 50, 100)
    ]
    hold = results.summary.levels[1].hold
    assert (hold.requests, hold.outcomes, hold.token_rate) == (400, {"ok": 400}, 2425.0)
    assert hold.ttft_s.p50 is not None
    assert hold.ttft_s.p50.value == pytest.approx(0.188)
    assert results.run.started_at.isoformat() == "2024-06-05T14:03:00+00:00"
    assert (results.status, results.not_run) == ("finished", ())


def test_a_path_may_be_a_string(write_run: Write) -> None:
    assert isinstance(load_results(str(write_run())), Results)


def test_keys_of_a_newer_writer_are_ignored(write_run: Write, make_level: Callable[..., Json]) -> None:
    level = make_level(0, 10, novelty=1) | {"colour": "red"}
    folder = write_run([level], run={"weather": "fine"}, summary={"mood": "good"})
    assert load_results(folder).summary.levels[0].users == 10


def test_the_worse_status_of_the_two_files_counts(write_run: Write) -> None:
    assert load_results(write_run(run={"status": "failed"}, summary={"status": "interrupted"})).status == "failed"
    assert load_results(write_run(run={"status": "running"}, summary={"status": "finished"})).status == "running"


def test_stages_planned_but_without_figures_are_known(write_run: Write, make_ladder: Callable[[], list[Json]]) -> None:
    ladder = make_ladder()
    plan = [{key: level[key] for key in ("index", "system_prompt", "level", "users")} for level in ladder]
    results = load_results(write_run(ladder[:5], run={"plan": plan}))
    assert [(stage.index, stage.system_prompt, stage.name) for stage in results.not_run] == [(5, "on", "100")]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "nowhere"
    assert str(folder) in refusal(folder)


def test_a_file_is_no_results_folder(write_run: Write) -> None:
    file = write_run() / "run.json"
    assert refusal(file).startswith(f"{file} is a file")


def test_a_stranger_s_folder_is_told_what_it_lacks(tmp_path: Path) -> None:
    assert "run.json and summary.json are missing" in refusal(tmp_path)


def test_a_folder_without_run_json_is_told_that_alone(write_run: Write) -> None:
    folder = write_run()
    (folder / "run.json").unlink()
    assert "is damaged: run.json is missing." in refusal(folder)
    assert "summary.json" not in refusal(folder)


def test_a_folder_of_runs_names_them_the_newest_first_and_at_most_five(write_run: Write) -> None:
    newest = write_run()
    results = newest.parent
    assert refusal(results).endswith(f"holds 1 run; give {newest}.")
    older = [results / f"2024060{day}-090000-tgi" for day in (4, 3, 2, 1)]
    oldest = [results / f"2024050{day}-090000-tgi" for day in (2, 1)]
    for folder in (*older, *oldest):
        folder.mkdir()
        (folder / "run.json").write_text("{}")
    assert refusal(results).endswith(f": {', '.join(map(str, (newest, *older)))} and 2 older ones.")
    assert "7 runs" in refusal(results)


def test_a_killed_run_says_so_and_what_is_still_readable(write_run: Write) -> None:
    folder = write_run(run={"status": "running"})
    (folder / "summary.json").unlink()
    assert "run.json says it is running" in refusal(folder)
    assert f"tokenswarm recover {folder}" in refusal(folder)
    assert "; requests.csv, windows.csv and histograms.csv are readable." in refusal(folder)
    (folder / "histograms.csv").unlink()
    assert "; requests.csv and windows.csv are readable." in refusal(folder)


def test_a_run_that_ended_without_a_summary_is_not_called_killed(write_run: Write) -> None:
    folder = write_run(run={"status": "failed"})
    (folder / "summary.json").unlink()
    assert "the run ended (failed)" in refusal(folder)
    assert "killed" not in refusal(folder)


@pytest.mark.parametrize("name", ["run", "summary"])
def test_an_unknown_format_is_refused_by_its_number(write_run: Write, name: str) -> None:
    folder = write_run(**{name: {"format": 99, "tokenswarm_version": "9.0"}})
    message = refusal(folder)
    assert message.startswith(f"{folder / name}.json has format 99")
    assert f"1 to {FORMAT}" in message
    assert "tokenswarm 9.0" in message


def test_a_file_without_a_format_is_refused(write_run: Write) -> None:
    folder = write_run()
    (folder / "summary.json").write_text("{}")
    assert f"names no format, but formats 1 to {FORMAT} are read here" in refusal(folder)


NESTED_BEYOND_REASON = '{"format": 1, "status": ' + "[" * 100_000


@pytest.mark.parametrize(
    "damage",
    ["", "{", '{"format": 1, "status', "\udcff", pytest.param(NESTED_BEYOND_REASON, id="nested beyond reason")],
)
def test_a_damaged_file_is_named(write_run: Write, damage: str) -> None:
    folder = write_run()
    (folder / "summary.json").write_bytes(damage.encode("utf-8", "surrogateescape"))
    message = refusal(folder)
    assert message.startswith(f"{folder / 'summary.json'} is damaged: ")
    assert "Input data was truncated" not in message


@pytest.mark.parametrize("spool", [None, "spool", "elsewhere"])
@pytest.mark.parametrize("damage", ["run.json is missing", "summary.json is missing", "summary.json was cut"])
def test_a_damaged_folder_names_recover_only_where_it_has_a_spool(
    write_run: Write, damage: str, spool: str | None
) -> None:
    folder = write_run(run={"spool_folder": spool} if spool else {})
    file, _, what = damage.partition(" ")
    (folder / file).unlink()
    if what == "was cut":
        (folder / file).write_text('{"format": 2, "status')
    if spool:
        (folder / spool).mkdir()
        (folder / spool / RUN_LOG).write_bytes(b"")
    message = refusal(folder)
    assert "damaged" in message
    assert file in message
    known = spool == "spool" or (spool and file != "run.json")  # run.json names the spool's folder
    assert (f"tokenswarm recover {folder}" in message) == bool(known)
    assert ("no spool" in message) != bool(known)


def test_a_value_of_another_kind_is_named_with_its_place(write_run: Write, make_level: Callable[..., Json]) -> None:
    level = make_level(0, 10)
    level["hold"]["requests"] = "many"
    level["whole"] = make_level(0, 10)["whole"]
    folder = write_run([level])
    message = refusal(folder)
    assert message.startswith(f"{folder / 'summary.json'} is damaged: ")
    assert "$.levels[0].hold.requests" in message


def test_a_run_without_levels_has_nothing_to_report(write_run: Write) -> None:
    folder = write_run([])
    assert refusal(folder).startswith(f"{folder / 'summary.json'} holds no level")


def test_a_summary_that_cannot_be_opened_is_an_error_sentence(
    write_run: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_run()

    def refuse(path: Path, *_: object) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("tokenswarm.sanitize.files.os.open", refuse)
    assert refusal(folder) == f"{folder / 'run.json'} cannot be read: Permission denied."


def test_a_model_and_a_host_may_be_unknown(write_run: Write) -> None:
    folder = write_run(summary={"model": None, "host": None})
    assert load_results(folder).summary.model is None
    assert json.loads((folder / "summary.json").read_text())["host"] is None

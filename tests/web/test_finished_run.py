"""What the page shows of a run that is over."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tokenswarm.web.comparison import labels_of, refusal
from tokenswarm.web.finished_run import FinishedRuns

FINISHED = Path(__file__).resolve().parents[1] / "run_folder" / "format_2"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished run."""
    return Path(shutil.copytree(FINISHED, tmp_path / "20260701-a"))


def change(path: Path, key: str, value: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))


def test_prefix_cache_hits_are_among_its_warnings(folder: Path) -> None:
    assert FinishedRuns().of(folder) is not None
    summary = json.loads((folder / "summary.json").read_text())
    level = next(level for level in summary["levels"] if level["system_prompt"] == "off")
    level["hold"]["server"]["prefix_cache_hit_ratio"] = 0.5
    change(folder / "summary.json", "levels", summary["levels"])
    finished = FinishedRuns().of(folder)
    assert finished is not None
    (warning,) = (words for words in finished.warnings if words.startswith("PREFIX-CACHE HITS"))
    assert "50" in warning


def test_an_interruption_is_among_its_warnings(folder: Path) -> None:
    change(folder / "run.json", "status", "interrupted")
    finished = FinishedRuns().of(folder)
    assert finished is not None
    assert [words for words in finished.warnings if words.startswith("INTERRUPTED")]


def test_conditions_are_checked_at_each_level(folder: Path) -> None:
    options = json.loads((folder / "run.json").read_text())["options"]
    change(folder / "run.json", "options", options | {"fail_if": "p50(ttft) > 1us"})
    finished = FinishedRuns().of(folder)
    assert finished is not None
    levels = json.loads((folder / "summary.json").read_text())["levels"]
    assert [condition.status for condition in finished.conditions] == ["fail"] * len(levels)


def test_a_folder_that_is_not_complete_is_read_again(folder: Path) -> None:
    summary = (folder / "summary.json").rename(folder / "later.json")
    runs = FinishedRuns()
    assert runs.of(folder) is None
    summary.rename(folder / "summary.json")
    assert runs.of(folder) is not None


def test_a_refused_comparison_names_folders_and_no_option_of_the_command() -> None:
    folders = [Path("/srv/results/20260701-a"), Path("/srv/results/20260702-b")]
    error = refusal(
        f"tokenswarm compare: {folders[0]} and {folders[1]} were run with different settings:\n  shape: free, ladder\n"
        "Repeat one of them with the other's settings, or add --allow shape to compare them anyway.\n",
        folders,
    )
    assert error.can_allow
    assert str(error).splitlines() == [
        "20260701-a and 20260702-b were run with different settings:",
        "  shape: free, ladder",
        "Repeat one of them with the other's settings.",
    ]


def test_a_refused_comparison_is_offered_anyway_only_where_no_other_error_is_left() -> None:
    settings = (
        "tokenswarm compare: Different settings:\n  shape: free, ladder\nRepeat one, or add --allow shape to compare "
    )
    settings += "them anyway.\n"
    other = "tokenswarm compare: /srv/results/b/summary.json is not whole JSON.\n"
    folders = [Path("/srv/results/a"), Path("/srv/results/b")]
    assert refusal(settings * 2, folders).can_allow
    both = refusal(settings + other, folders)
    assert not both.can_allow
    assert str(both).splitlines()[-1] == "b/summary.json is not whole JSON."
    assert "--allow" not in str(both)


def test_runs_are_compared_by_their_names_and_by_their_folders_where_names_tell_nothing() -> None:
    old, new, third = Path("r/20260701-a"), Path("r/20260702-b"), Path("r/20260703-c")
    assert labels_of([(old, "base"), (new, "candidate")]) == ["base", "candidate"]
    assert labels_of([(old, "base"), (new, ""), (third, "base")]) == ["base", "20260702-b", "base"]
    assert labels_of([(old, "base"), (new, "base")]) == ["20260701-a", "20260702-b"]

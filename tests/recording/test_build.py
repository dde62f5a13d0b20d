"""The message to a worker whose files are not those of its master."""

from __future__ import annotations

from pathlib import Path

from tokenswarm.recording.build import build_difference, build_of, tokenswarm_version

VERSION = tokenswarm_version()


def test_another_locustfile_is_named_as_what_differs(tmp_path: Path) -> None:
    for name in ("one.py", "other.py"):
        (tmp_path / name).write_text(name)
    one, other = (build_of([str(tmp_path / name)]) for name in ("one.py", "other.py"))
    assert one != other
    reason = build_difference(one, other)
    assert "locustfile" in reason and VERSION not in reason


def test_other_files_of_the_same_version_are_named_with_it_once() -> None:
    mine = build_of([])
    sources = mine.partition("(")[2].partition(",")[0]
    reason = build_difference(mine.replace(f"({sources}", "(0123456789ab"), mine)
    assert reason.count(VERSION) == 1 and "locustfile" not in reason


def test_other_versions_are_both_named() -> None:
    reason = build_difference("0.0.9 (0123456789ab)", build_of([]))
    assert "0.0.9" in reason and VERSION in reason

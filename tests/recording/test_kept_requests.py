"""Requests that a run keeps: whole lines of JSON, without secrets, in files that do not fill the disk."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tokenswarm.recording.kept_requests import KeptRequests, RecordMode
from tokenswarm.sanitize import hide


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for path in sorted(folder.iterdir()) for line in path.read_text().splitlines()]


@pytest.fixture
def errors() -> list[str]:
    return []


def kept(folder: Path, errors: list[str], file_bytes: int = 1000, most_files: int = 3) -> KeptRequests:
    return KeptRequests(RecordMode.TEXT, folder, 2, errors.append, file_bytes, most_files)


def test_each_request_is_a_line_that_is_read_back_as_it_was(tmp_path: Path, errors: list[str]) -> None:
    texts = [
        "plain",
        'quote " \\ slash',
        "line\nend\ttab\r",
        "\x1b[31m",
        "\u202e right to left",
        "世界 🙂",
        "\U000e0041",
    ]
    requests = kept(tmp_path / "records", errors, file_bytes=10**6)
    for number, text in enumerate(texts):
        requests.write({"id": number, "text": text})
        assert lines(tmp_path / "records")[-1] == {"id": number, "text": text}, "not in the file at once"
    assert [path.name for path in (tmp_path / "records").iterdir()] == ["worker-2.000000.jsonl"]


def test_secrets_are_cut_out_and_the_line_stays_json(tmp_path: Path, errors: list[str]) -> None:
    secret = 'sk-"quoted"-94b1e6f0c2d7'
    hide(secret)
    requests = kept(tmp_path, errors, file_bytes=10**6)
    requests.write({"id": "0-1", "request": {"user": f"me {secret}"}, "response": f"key {secret} is wrong"})
    (line,) = lines(tmp_path)
    assert line["id"] == "0-1"
    assert "94b1e6f0" not in json.dumps(line)


def test_the_newest_files_stay(tmp_path: Path, errors: list[str]) -> None:
    requests = kept(tmp_path, errors)
    for number in range(100):
        requests.write({"id": number, "text": "x" * 180})
    found = lines(tmp_path)
    assert [line["id"] for line in found] == list(range(100 - len(found), 100))
    assert len(list(tmp_path.iterdir())) == 3
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())


def test_a_request_that_is_larger_than_a_file_has_one_of_its_own(tmp_path: Path, errors: list[str]) -> None:
    requests = kept(tmp_path, errors)
    for number in range(3):
        requests.write({"id": number, "text": "x" * 5000})
    assert [line["id"] for line in lines(tmp_path)] == [0, 1, 2]
    assert len(list(tmp_path.iterdir())) == 3


def test_a_disk_that_is_full_ends_it_with_one_reason(tmp_path: Path, errors: list[str]) -> None:
    folder = tmp_path / "records"
    requests = kept(folder, errors)
    requests.write({"id": 0})
    (folder / "worker-2.000001.jsonl").symlink_to("/dev/full")
    for number in range(1, 60):
        requests.write({"id": number, "text": "x" * 100})
    assert len(errors) == 1 and os.strerror(28) in errors[0]
    assert lines(folder)[0] == {"id": 0} if not (folder / "worker-2.000001.jsonl").is_symlink() else True

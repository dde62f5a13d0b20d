"""No file that a user names fills the memory, waits for ever, or ends in a traceback."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tokenswarm.client.option_values import OptionError
from tokenswarm.client.request_options import _template
from tokenswarm.engines import EngineError
from tokenswarm.prompts import PromptError, load_prompts, load_system_prompt, token_counter
from tokenswarm.run_folder.reader import ReportError, load_results
from tokenswarm.sanitize import UnusableFile, check_file, read_file, read_text
from tokenswarm.wire import TlsSettings, UnusableCertificates

READERS: dict[str, Callable[[str], object]] = {
    "system prompt": load_system_prompt,
    "prompts": lambda path: load_prompts(path, tokens_min=1, tokens_max=9, counter=token_counter()),
    "tokenizer": token_counter,
    "chat template": _template,
    "authorities": lambda path: TlsSettings(path).context(),
}


def unusable(kind: str, folder: Path) -> str:
    path = folder / f"{kind}.jsonl"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        return "/dev/zero"
    elif kind == "link to a device":
        path.symlink_to("/dev/zero")
    elif kind == "giant":
        with path.open("wb") as file:
            file.truncate(2**40)
    elif kind == "NUL in its name":
        return str(folder / "a\0b.jsonl")
    return str(path)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        *(("pipe", "is a pipe"), ("socket", "is a socket"), ("folder", "is a folder"), ("device", "is a device")),
        *(("link to a device", "is a device"), ("giant", "is larger than"), ("missing", "does not exist")),
        ("NUL in its name", "cannot be read"),
    ],
)
def test_what_is_no_file_of_sensible_size_is_found_without_opening_it(kind: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UnusableFile, match=f"^{words}"):
        check_file(Path(unusable(kind, tmp_path)), 1_000)


@pytest.mark.parametrize(
    "kind", ["pipe", "socket", "folder", "device", "link to a device", "giant", "missing", "NUL in its name"]
)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_of_sensible_size_is_refused_in_a_sentence(reader: str, kind: str, tmp_path: Path) -> None:
    path = unusable(kind, tmp_path)
    with pytest.raises((PromptError, OptionError, EngineError, UnusableCertificates)) as refused:
        READERS[reader](path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", ["pipe", "device", "giant"])
@pytest.mark.parametrize("name", ["run.json", "summary.json"])
def test_a_folder_of_results_that_holds_traps_is_refused(name: str, kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text('{"format": 1, "started_at": "2026-01-01T00:00:00Z", "status": "finished"}')
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(unusable(kind, tmp_path))
    with pytest.raises(ReportError):
        load_results(folder)


def test_a_file_is_read_to_its_bound(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"\xef\xbb\xbften bytes.")
    assert read_text(file, 13) == "ten bytes."
    with pytest.raises(UnusableFile):
        read_file(file, 12)
    file.write_bytes(b"\xff")
    with pytest.raises(UnusableFile):
        read_text(file, 12)


def test_a_file_whose_size_nobody_knows_is_read_to_the_bound_and_no_further() -> None:
    with pytest.raises(UnusableFile):
        read_file(Path("/proc/self/smaps"), 100)


def test_a_pipe_that_takes_a_files_place_after_the_check_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    open_file, flags_of = os.open, []

    def opened(path: Path, flags: int) -> int:
        flags_of.append(flags)
        return open_file(path, flags | os.O_NONBLOCK)

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr("tokenswarm.sanitize.files.check_file", lambda *_: None)
    with pytest.raises(UnusableFile, match="is a pipe"):
        read_file(tmp_path / "pipe", 100)
    assert [flags & os.O_NONBLOCK for flags in flags_of] == [os.O_NONBLOCK]

"""Copies of a run's folder in a store: whole, verified, and without anybody's credentials."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tests.reports.folders import Course, write_folder
from tests.run_folder.fake_s3 import FakeS3, fake_s3
from tests.runs.harness import environment
from tokenswarm.run_folder import remote_folder
from tokenswarm.run_folder.reader import ReportError, load_results
from tokenswarm.run_folder.remote_folder import RemoteFolderError, check_url, download, local_folder, upload

SECRET = "wJalrXUtnFEMI-K7MDENG-bPxRfiCY"
TOKENSWARM = (sys.executable, "-P", "-c", "import sys; from tokenswarm import main; sys.exit(main())")


class CutFileSystem(MemoryFileSystem):
    """Loses the last byte of each CSV file. Notes what is written, in its order."""

    protocol = "cut"
    store: dict[str, object] = {}  # noqa: RUF012  as the class above has it
    pseudo_dirs = [""]  # noqa: RUF012
    written: list[str] = []  # noqa: RUF012

    def put_file(self, lpath: str, rpath: str, *rest: object, **more: object) -> None:
        self.written.append(rpath.rpartition("/")[2])
        data = Path(lpath).read_bytes()
        self.pipe_file(rpath, data[:-1] if lpath.endswith(".csv") else data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "20260701-120000-vllm", [Course(10)], seed=1)


@pytest.fixture
def store() -> Iterator[MemoryFileSystem]:
    """fsspec's own in memory, which all tests of a process share."""
    store = MemoryFileSystem()
    store.store.clear()
    yield store
    store.store.clear()


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_copy_holds_every_file_and_is_read_back_as_it_was(folder: Path, store: MemoryFileSystem) -> None:
    (folder / "charts").mkdir(exist_ok=True)
    (folder / "charts" / "ttft.png").write_bytes(b"picture")
    before = files_of(folder)
    uploaded = upload(folder, "memory://bucket/prefix/")
    root = f"/bucket/prefix/{folder.name}"
    assert {name: store.cat_file(f"{root}/{name}") for name in before} == before
    assert len(store.find(root)) == len(before) == uploaded.files
    assert uploaded.size_bytes == sum(map(len, before.values()))
    assert json.loads((folder / "uploaded.json").read_text())["url"] == uploaded.url == f"memory://{root}"
    copy = local_folder(uploaded.url)
    assert copy != folder
    assert files_of(copy) == before
    assert load_results(copy).summary == load_results(folder).summary


def test_the_name_of_another_run_is_not_taken_and_the_same_run_replaces_its_copy(
    folder: Path, tmp_path: Path, store: MemoryFileSystem
) -> None:
    first = upload(folder, "memory://bucket")
    (tmp_path / "other").mkdir()
    other = write_folder(tmp_path / "other" / folder.name, [Course(50)], seed=2)
    assert upload(other, "memory://bucket").url == f"{first.url}-2"
    assert upload(folder, "memory://bucket") == first
    assert store.cat_file(f"/bucket/{folder.name}/run.json") == (folder / "run.json").read_bytes()
    assert store.cat_file(f"/bucket/{folder.name}-2/run.json") == (other / "run.json").read_bytes()


def test_a_file_that_arrives_short_fails_the_upload_and_run_json_comes_last(folder: Path) -> None:
    fsspec.register_implementation("cut", CutFileSystem, clobber=True)
    CutFileSystem.written.clear()
    with pytest.raises(RemoteFolderError, match=r"requests\.csv has another size there than the \d+ bytes"):
        upload(folder, "cut://bucket")
    assert CutFileSystem.written[-1] == "run.json"
    assert len(CutFileSystem.written) == len(files_of(folder))
    assert not (folder / "uploaded.json").exists()


def test_a_store_that_cannot_be_written_leaves_the_folder_and_says_why(folder: Path) -> None:
    before = files_of(folder)
    with pytest.raises(RemoteFolderError, match=r"could not be uploaded to file:///dev/null/x: Not a directory\.$"):
        upload(folder, "file:///dev/null/x")
    assert files_of(folder) == before


def test_a_copy_that_cannot_be_noted_in_the_folder_is_named(folder: Path, store: MemoryFileSystem) -> None:
    (folder / "uploaded.json").mkdir()
    with pytest.raises(RemoteFolderError, match=r"is complete at memory:///bucket/.*uploaded\.json cannot be written"):
        upload(folder, "memory://bucket")
    assert store.cat_file(f"/bucket/{folder.name}/run.json") == (folder / "run.json").read_bytes()


def test_a_run_that_has_not_ended_is_not_sent(folder: Path, store: MemoryFileSystem) -> None:
    """A copy would hold half of it, and the upload at its end would lie beside it under another name."""
    file = folder / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"status": "running"}))
    with pytest.raises(RemoteFolderError, match=r"is of a run that has not ended.*tokenswarm recover "):
        upload(folder, "memory://bucket")
    assert not store.store
    file.write_text("{")
    assert upload(folder, "memory://bucket").files == len(files_of(folder)) - 1  # uploaded.json


def test_what_is_no_run_is_neither_sent_nor_read(tmp_path: Path, store: MemoryFileSystem) -> None:
    with pytest.raises(ReportError, match="is not a results folder"):
        upload(tmp_path, "memory://bucket")
    assert not store.store
    store.pipe_file("/bucket/prefix/other.txt", b"x")
    with pytest.raises(RemoteFolderError, match=r"There is no run at memory://bucket/prefix: run\.json is missing"):
        download("memory://bucket/prefix")


def test_a_name_that_leads_out_of_the_folder_is_not_written(store: MemoryFileSystem, folder: Path) -> None:
    uploaded = upload(folder, "memory://bucket")
    store.store[f"/bucket/{folder.name}/../../escaped.txt"] = store.store[f"/bucket/{folder.name}/run.json"]
    copy = download(uploaded.url)
    assert {path.name for path in copy.parent.parent.glob("escaped*")} == set()
    assert "escaped.txt" not in {path.name for path in copy.rglob("*")}


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        (f"s3://AKIA:{SECRET}@bucket/prefix", r"must hold no credentials"),
        (f"s3://AKIA:wJal/{SECRET}@bucket/prefix", r"must hold no credentials"),
        (f"s3://bucket/prefix?X-Amz-Signature={SECRET}", r"must hold no credentials"),
        ("s3://", r"names no place in the store"),
        ("http://gpu:8000/results", r"http:// cannot be written\.$"),
        ("s4://bucket", r"no store is known for s4://\.$"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_in_one_sentence_without_its_secret(url: str, sentence: str) -> None:
    with pytest.raises(RemoteFolderError, match=sentence) as refused:
        check_url("--results", url)
    assert SECRET not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "missing", "command"),
    [("s3://bucket/x", "s3fs", "pip install '.[s3]'"), ("gs://bucket/x", "gcsfs", "pip install gcsfs")],
)
def test_a_package_that_is_not_installed_is_named(
    url: str, missing: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = remote_folder.find_spec
    monkeypatch.setattr(remote_folder, "find_spec", lambda name: None if name == missing else found(name))
    with pytest.raises(RemoteFolderError) as refused:
        check_url("--results", url)
    assert f"which is not installed: {command}" in str(refused.value)


# S3 itself: s3fs speaks to a server of the test's, in the process of a command.


def tokenswarm(store: FakeS3, *words: str) -> subprocess.CompletedProcess[str]:
    names = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "AWS_MAX_ATTEMPTS")
    variables = dict(zip(names, (store.url, "AKIAEXAMPLE", SECRET, "eu-west-1", "1"), strict=True))
    return subprocess.run([*TOKENSWARM, *words], env=environment(**variables), capture_output=True, text=True)


@pytest.mark.slow
def test_s3_holds_the_bytes_that_were_sent_and_report_reads_them(folder: Path) -> None:
    pytest.importorskip("s3fs", reason="the extra s3 is not installed")
    before = files_of(folder)
    with fake_s3() as store:
        sent = tokenswarm(store, "upload", str(folder), "s3://bucket/prefix")
        assert (sent.returncode, sent.stderr) == (0, "")
        assert store.objects == {f"bucket/prefix/{folder.name}/{name}": data for name, data in before.items()}
        assert all("Credential=AKIAEXAMPLE/" in each for each in store.authorizations)
        report = tokenswarm(store, "report", f"s3://bucket/prefix/{folder.name}")
        assert report.returncode == 0, report.stderr
        assert "Page: " in report.stdout
        store.denied = True
        denied = tokenswarm(store, "upload", str(folder), "s3://bucket/prefix")
        assert denied.returncode == 2
        assert denied.stderr.endswith(" could not be uploaded to s3://bucket/prefix: Forbidden.\n")
        assert len(denied.stderr.splitlines()) == 1
        assert SECRET not in denied.stderr

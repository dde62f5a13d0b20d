"""The request log's file."""

import json
import resource
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tokenswarm.simulator.errors import SimulatorError
from tokenswarm.simulator.request_log import RequestLog


def request(path: str) -> Any:
    return SimpleNamespace(method="GET", path=path, query="", headers={}, body=b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path, kind in ((Path("/dev/full"), "device"), (tmp_path, "folder")):
        with pytest.raises(SimulatorError) as refused:
            RequestLog(path)
        assert str(refused.value) == f"--request-log takes a file, but {path} is a {kind}."


def test_a_disk_that_fills_up_is_one_sentence_and_requests_after_it_are_dropped(tmp_path: Path) -> None:
    path, sentences = tmp_path / "requests.jsonl", list[str]()
    log = RequestLog(path, sentences.append)
    log.write(request("/health"))
    before = path.read_text()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, limits[1]))
        log.write(request("/metrics"))
        log.write(request("/metrics"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    log.close()
    assert sentences == [f"the request log {path} ends here: File too large; the server goes on."]
    assert path.read_text() == before
    assert json.loads(before)["path"] == "/health"

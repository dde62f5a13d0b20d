"""The truth log's file."""

import resource
import signal
from pathlib import Path

import pytest

from tokenswarm.simulator.errors import SimulatorError
from tokenswarm.simulator.truth import TruthLog, TruthRow

COLUMNS = (
    "id,t_accept_ns,t_wire_ns,t_request_ns,t_role_ns,t_first_ns,t_last_ns,t_done_ns,tokens,late_max_us,outcome,"
    "prompt_tokens,cached_tokens,x_request_id"
)


def test_a_row_can_be_read_as_soon_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    log = TruthLog(path)
    log.write(TruthRow(7, 1, 2, 3, outcome="ok", x_request_id='a,"b'))
    assert path.read_text() == f'{COLUMNS}\n7,1,2,3,0,0,0,0,0,0,ok,0,0,"a,""b"\n'
    log.close()


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(SimulatorError, match=r"cannot write the truth log .*missing.* No such file or directory"):
        TruthLog(tmp_path / "missing" / "truth.csv")


def test_a_disk_that_fills_up_is_one_sentence_and_rows_after_it_are_dropped(tmp_path: Path) -> None:
    path, sentences = tmp_path / "truth.csv", list[str]()
    log = TruthLog(path, sentences.append)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, limits[1]))
        log.write(TruthRow(7, 1, 2, 3))
        log.write(TruthRow(8, 1, 2, 3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    log.close()
    (sentence,) = sentences
    assert str(path) in sentence and "request 7" in sentence
    assert path.read_text() == f"{COLUMNS}\n"

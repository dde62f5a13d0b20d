"""What clients leave of their requests, and how it is read."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.client_log import read_client_log, read_tokenswarm
from benchmarks.launch import ROOT
from benchmarks.plain_record import LOG_VARIABLE, ClientLog
from benchmarks.records import Seen
from tokenswarm.simulator.paced_log import read_server_log, write_server_log

MS = 1_000_000


@pytest.mark.slow
@pytest.mark.parametrize("client", ["plain_locustfile", "fast_locustfile"])
def test_a_plain_client_imports_nothing_of_tokenswarm(client: str) -> None:
    """It would be refused: a locustfile that imports a part of it measures nothing with it."""
    code = f"import sys, benchmarks.{client}; print([name for name in sys.modules if name.startswith('tokenswarm')])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_plain_clients_record_comes_back_as_it_was_timed(tmp_path, monkeypatch):
    monkeypatch.setenv(LOG_VARIABLE, str(tmp_path / "client.csv"))
    log = ClientLog()
    answer, _unanswered = log.begin(), log.begin()
    answer.sent_ns = 1000
    for now_ns in (5000, 5100, 5900, 6000):
        answer.token(now_ns)
    answer.ok = True
    log.on_quitting(environment=None)
    first, second = read_client_log(tmp_path)
    assert first == Seen("0", 1000, 4000, 800, 4, ok=True)
    assert (second.request_id, second.ttft_ns, second.gap_max_ns, second.ok) == ("1", None, None, False)


def test_tokenswarms_rows_are_read_in_nanoseconds_and_empty_is_none(tmp_path):
    folder = tmp_path / "20240605-140300-vllm"
    folder.mkdir()
    (folder / "requests.csv").write_text(
        "id,outcome,sent_s,ttft_ms,gap_max_ms,output_events\n"
        "0.1,ok,1.500001,200.25,26.5,128\n"
        "0.2,ok,2.0,201.0,,128\n"
        "0.3,cut,3.0,,,0\n",
        encoding="utf-8",
    )
    assert read_tokenswarm(tmp_path) == [
        Seen(None, 1_500_001_000, 200_250_000, 26_500_000, 128, ok=True),
        Seen(None, 2_000_000_000, 201 * MS, None, 128, ok=True),
        Seen(None, 3_000_000_000, None, None, 0, ok=False),
    ]


def test_the_servers_log_comes_back_as_it_was_written(tmp_path, served):
    rows = [served(0, 1.0, request_id="7"), served(1, 2.0, outcome="client_gone", tokens=3)]
    write_server_log(tmp_path / "server.csv", rows)
    assert read_server_log(tmp_path / "server.csv") == rows

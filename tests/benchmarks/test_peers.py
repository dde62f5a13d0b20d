"""Others' clients: who is run, and how their own records are read."""

from __future__ import annotations

import json
import sys
from itertools import pairwise

import pytest

from benchmarks.peers import PeerError, peers, read_aiperf
from benchmarks.records import Load, Seen


def test_a_peer_is_run_where_it_is_given(tmp_path):
    (client,) = peers({"aiperf": sys.executable})
    command = client.command(Load(100, 2, 10), "http://127.0.0.1:1234", tmp_path)
    assert command[:2] == [sys.executable, "profile"]
    told = dict(pairwise(command))
    assert (
        told["--url"],
        told["--concurrency"],
        told["--concurrency-ramp-duration"],
        told["--benchmark-duration"],
    ) == (*("http://127.0.0.1:1234", "100", "2", "12"),)
    assert json.loads((tmp_path / "tokenizer" / "tokenizer.json").read_text())["model"]["type"] == "BPE"


@pytest.mark.parametrize(
    ("given", "words"),
    [({"wrk": sys.executable}, "NAME one of aiperf; got 'wrk'"), ({"aiperf": "/no/such"}, "there is no such program")],
)
def test_a_peer_that_cannot_be_run_is_refused_in_a_sentence(given, words):
    with pytest.raises(PeerError, match=words):
        peers(given)


def test_aiperfs_own_record_of_each_request_is_read(tmp_path):
    """Two lines as AIPerf 0.13.0 wrote them, shortened; the second request failed."""
    good = {
        "metadata": {"x_request_id": "a", "request_start_ns": 1_795_411_245_701_665_989, "was_cancelled": False},
        "metrics": {
            "output_sequence_length": {"value": 32, "unit": "tokens"},
            "time_to_first_token": {"value": 206.776837, "unit": "ms"},
        },
        "error": None,
    }
    bad = {"metadata": good["metadata"] | {"x_request_id": "b"}, "metrics": {}, "error": {"code": 503}}
    (tmp_path / "profile_export.jsonl").write_text("\n".join(map(json.dumps, (good, bad))))
    sent_ns = 1_795_411_245_701_665_989
    assert read_aiperf(tmp_path) == [
        Seen("a", sent_ns, 206_776_837, None, 32, ok=True),
        Seen("b", sent_ns, None, None, 0, ok=False),
    ]

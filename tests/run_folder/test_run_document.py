"""run.json and the folder's name."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from tokenswarm.metrics.client_health import ErrorSpread, SelfCheck
from tokenswarm.metrics.level import Level
from tokenswarm.run_folder.run_document import folder_name, run_document
from tokenswarm.run_folder.schema import RunFacts, Status, Validity

BEGAN = datetime(2026, 7, 1, 12, 0, 0, tzinfo=UTC)


def test_run_json_holds_everything_that_defined_the_run(a_level: Callable[..., Level]) -> None:
    facts = RunFacts(
        host="http://gpu:8000",
        engine="vllm",
        model="llama",
        shape="ladder",
        plan=[a_level(0), a_level(1, users=50, system_prompt="on", level_time_s=None)],
        options={"levels": "10,50"},
        prompts={"source": "sample", "count": 300},
        engine_version="0.32.0",
        gateway="BentoML",
        engine_evidence=["GET /v1/models: the models are owned_by vllm"],
        cold_start_s=41.5,
        embedded_simulator=True,
        changed_options=["levels"],
        name="nightly",
        tags={"gpu": "H100"},
        own_code={"locustfile": "my.py", "users": ["Reader"], "shape": None, "sha256": "0a"},
    )
    document = run_document(
        *(facts, "0.1.0", BEGAN, BEGAN + timedelta(seconds=90), Status.FINISHED),
        workers=4,
        self_checks={2: SelfCheck(5, 20, ErrorSpread(0.00001, 0.0001, 0.0002), None)},
        verdict=Validity("suspect", ["why"]),
    )
    document = json.loads(msgspec.json.encode(document))
    added = {
        name: document.pop(name) for name in ("server_metrics", "run_id", "spool_folder", "stop_reason", "requests")
    }
    assert document.pop("changed_options") == ["levels"]
    assert document.pop("abandonment") is None
    own_code = {"locustfile": "my.py", "users": ["Reader"], "shape": None, "sha256": "0a"}
    assert document.pop("own_code") == own_code
    assert document.pop("mix") == {"hosts": [], "models": []}
    assert (document.pop("name"), document.pop("tags")) == ("nightly", {"gpu": "H100"})
    assert added == {"server_metrics": {}, "run_id": None, "spool_folder": None, "stop_reason": None, "requests": {}}
    failure = {"wait_s": 1.0, "honours_retry_after": False}
    plain = {"arrivals": None, "think_time": None, "requests": None, "warm_up": False, "after_failure": failure}
    plain |= {"random_start": False, "cache_flushed": None, "probe": False}
    plain |= {"own_users": False, "own_shape": False}
    unset = [{name: level.pop(name) for name in tuple(level) if name in plain} for level in document["plan"]]
    assert unset == [plain] * 2
    assert document.pop("python").count(".") == 2
    assert document.pop("platform")
    assert document == {
        "format": 3,
        "tokenswarm_version": "0.1.0",
        "started_at": "2026-07-01T12:00:00Z",
        "ended_at": "2026-07-01T12:01:30Z",
        "status": "finished",
        "host": "http://gpu:8000",
        "engine": "vllm",
        "model": "llama",
        "shape": "ladder",
        "plan": [
            {"index": 0, "system_prompt": "off", "level": "10", "users": 10, "ramp_s": 2.0, "level_time_s": 12.0},
            {"index": 1, "system_prompt": "on", "level": "50", "users": 50, "ramp_s": 2.0, "level_time_s": None},
        ],
        "options": {"levels": "10,50"},
        "prompts": {"source": "sample", "count": 300},
        "engine_version": "0.32.0",
        "gateway": "BentoML",
        "engine_evidence": ["GET /v1/models: the models are owned_by vllm"],
        "chat_template": None,
        "cold_start_s": 41.5,
        "embedded_simulator": True,
        "workers": 4,
        "self_checks": [
            {
                "worker": 2,
                "users": 5,
                "answers": 20,
                "ttft_error_s": {"p50": 0.00001, "p99": 0.0001, "max": 0.0002},
                "gap_error_s": None,
            }
        ],
        "validity": {"verdict": "suspect", "reasons": ["why"], "issues": []},
    }


def test_a_run_under_way_has_no_end() -> None:
    facts = RunFacts("h", "e", "m", "free", [], {}, {})
    document = run_document(facts, "0", BEGAN, None, Status.RUNNING, workers=1)
    assert (document.ended_at, document.status, document.validity) == (None, "running", None)


@pytest.mark.parametrize(("engine", "name"), [("vllm", "vllm"), ("my engine/../2", "my-engine-..-2"), ("ä", "-")])
def test_a_folders_name_is_its_time_and_engine_and_safe(engine: str, name: str) -> None:
    assert folder_name(BEGAN, engine) == f"20260701-120000-{name}"

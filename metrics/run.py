"""What defined a run, and how it ended: run.json."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from metrics.health import NO_SELF_CHECKS, SelfCheck
from metrics.stage import Stage
from metrics.summary import FORMAT, Validity
from sanitize import shown_values

#: Asked for once, as a program is run for it: in a run, other greenlets would come in between, and an interrupt.
_PLATFORM = platform.platform()


class Status(StrEnum):
    """RUNNING stands in a folder whose run was killed; FAILED is a run whose books do not balance or that recorded
    nothing; RECOVERED was rebuilt by `tokenswarm recover` from what a killed run left."""

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    RECOVERED = "recovered"


class RunFacts(msgspec.Struct, frozen=True):
    """What is known when a run begins. `options` and `prompts` are told as they are; neither holds a secret.

    engine_evidence: why the server is taken for `engine`. chat_template: what prompts were written with, None where the
    server applies its own. cold_start_s: seconds that the run waited for the server to be ready, 0 where it was.
    embedded_simulator: whether the server was started for this run alone, as no host was given.
    """

    host: str
    engine: str
    model: str
    shape: str
    plan: Sequence[Stage]
    options: Mapping[str, Any]
    prompts: Mapping[str, Any]
    engine_version: str | None = None
    gateway: str | None = None
    engine_evidence: Sequence[str] = ()
    chat_template: str | None = None
    cold_start_s: float = 0.0
    embedded_simulator: bool = False


def safe_facts(facts: RunFacts) -> RunFacts:
    """The same facts without secrets and control characters: files, labels of metrics and pages show them."""
    names = ("host", "engine", "model", "options", "prompts", "engine_version", "gateway", "engine_evidence")
    return msgspec.structs.replace(facts, **{name: shown_values(getattr(facts, name)) for name in names})


def run_document(
    facts: RunFacts,
    version: str,
    began: datetime,
    ended: datetime | None,
    status: Status,
    workers: int,
    self_checks: Mapping[int, SelfCheck] = NO_SELF_CHECKS,
    verdict: Validity | None = None,
) -> dict[str, Any]:
    """The content of run.json. self_checks: by worker; verdict: None while the run goes on."""
    return {
        "format": FORMAT,
        "tokenswarm_version": version,
        "started_at": began.isoformat(),
        "ended_at": ended.isoformat() if ended else None,
        "status": status.value,
        **msgspec.to_builtins(facts),
        "workers": workers,
        "self_checks": [{"worker": worker, **msgspec.to_builtins(check)} for worker, check in self_checks.items()],
        "validity": msgspec.to_builtins(verdict),
        "python": sys.version.split()[0],
        "platform": _PLATFORM,
    }


def folder_name(began: datetime, engine: str) -> str:
    """`20260701-120000-vllm`: sorts by time, safe as a file's name."""
    return f"{began:%Y%m%d-%H%M%S}-{re.sub(r'[^A-Za-z0-9._-]+', '-', engine)}"

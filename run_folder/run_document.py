"""What defined a run, and how it ended: run.json."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import structs

from tokenswarm.metrics.client_health import NO_SELF_CHECKS, SelfCheck
from tokenswarm.run_folder.schema import RunDocument, RunFacts, Status, Validity, WorkerSelfCheck
from tokenswarm.sanitize import shown, shown_values

#: Read once, as a program is run for it: in a run, other greenlets would come in between, and an interrupt.
_PLATFORM = platform.platform()


def safe_facts(facts: RunFacts) -> RunFacts:
    """The same facts without secrets and control characters: files, labels of metrics and pages show them."""
    names = (
        "host",
        "engine",
        "model",
        "options",
        "prompts",
        "engine_version",
        "gateway",
        "engine_evidence",
        "requests",
        "name",
        "tags",
        "own_code",
    )
    safe = {name: shown_values(getattr(facts, name)) for name in names}
    return structs.replace(facts, **safe, mix=facts.mix.renamed(shown))


def run_document(
    facts: RunFacts,
    version: str,
    began: datetime,
    ended: datetime | None,
    status: Status,
    workers: int,
    self_checks: Mapping[int, SelfCheck] = NO_SELF_CHECKS,
    verdict: Validity | None = None,
) -> RunDocument:
    """The content of run.json. self_checks: by worker; verdict: None while the run goes on."""
    known: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in structs.asdict(facts).items()
    }
    return RunDocument(
        tokenswarm_version=version,
        started_at=began,
        ended_at=ended,
        status=status,
        **known,
        workers=workers,
        self_checks=tuple(
            WorkerSelfCheck(worker=worker, **structs.asdict(check)) for worker, check in self_checks.items()
        ),
        validity=verdict,
        python=sys.version.split()[0],
        platform=_PLATFORM,
    )


def folder_name(began: datetime, engine: str) -> str:
    """`20260701-120000-vllm`: sorts by time, safe as a file's name."""
    return f"{began:%Y%m%d-%H%M%S}-{re.sub(r'[^A-Za-z0-9._-]+', '-', engine)}"

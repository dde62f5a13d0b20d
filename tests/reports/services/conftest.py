"""A run to export, and a receiver to export it to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reports.services.exported_run import write_exported_run
from tests.reports.services.otlp_receiver import Receiver, receiving
from tokenswarm.run_folder.reader import Results, load_results


@pytest.fixture
def exported(tmp_path: Path) -> Results:
    return load_results(write_exported_run(tmp_path / "20240605-140300-vllm"))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as started:
        yield started


@pytest.fixture(autouse=True)
def no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEADERS", "CERTIFICATE", "TIMEOUT"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)

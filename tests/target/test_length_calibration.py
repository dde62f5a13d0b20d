"""What the log says of lengths that cannot be made."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.prompts.traces.trace_examples import AZURE_WEEK
from tokenswarm.metrics.trace_replay import TraceReplay
from tokenswarm.prompts.synthetic.calibration import TextCalibration
from tokenswarm.prompts.traces.trace_source import TraceSource
from tokenswarm.target.length_calibration import warn_of_short


def test_prompts_shorter_than_the_chat_template_are_counted(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    (file := tmp_path / "azure.csv").write_text(AZURE_WEEK)
    source = TraceSource.of(TraceReplay(str(file)))
    warn_of_short(source, TextCalibration({"one": 1}, {"off": 12, "on": 13}, "usage"))
    assert [record.getMessage() for record in caplog.records] == [
        "--trace: 1 of 2 prompts are recorded with less than 13 tokens, and are sent with 13: chat template and first "
        "word have so many (with system prompt)"
    ]

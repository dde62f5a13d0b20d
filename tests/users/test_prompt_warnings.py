"""What the log says of a run's prompts before it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.option_parser import parser_of_all_options
from tests.prompts.traces import trace_examples as examples
from tokenswarm.client.request_options import ChatOptions
from tokenswarm.client.workload import load_workload
from tokenswarm.command_line import read_options
from tokenswarm.users.prompt_warnings import log_prompts


def logged(caplog: pytest.LogCaptureFixture, folder: Path, text: str, *words: str) -> list[tuple[str, str]]:
    """(level, sentence) of each."""
    (file := folder / "trace").write_text(text)
    given = read_options(parser_of_all_options(), ["--trace", str(file), "--engine", "vllm", *words])
    options = ChatOptions.of(given.options)
    with caplog.at_level(logging.INFO):
        log_prompts(load_workload(options).prompts, options)
    return [(record.levelname, record.getMessage().replace(str(file), "FILE")) for record in caplog.records]


def test_bursts_of_a_trace_are_reported_with_their_numbers(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    rows = "".join(examples.MOONCAKE.replace("1250", str(3000 * number)) for number in range(1, 4))
    assert logged(caplog, tmp_path, rows, "--trace-speed", "2") == [
        ("INFO", "--trace FILE: 9 of 9 rows (mooncake) are replayed within 6s, 2 times as fast as recorded"),
        (
            "WARNING",
            "--trace FILE: 9 of 9 requests share their timestamp with others, 2.2 in the mean, and are sent in bursts, "
            "every 1s500ms or later; that may be the recorder's doing. Give --trace-spread poisson to spread them",
        ),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [(examples.MOONCAKE, ("--trace-spread", "uniform")), (examples.AZURE_CODE, ()), (examples.BURSTGPT_NEW, ())],
)
def test_what_is_no_burst_is_none(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    assert [level for level, _ in logged(caplog, tmp_path, text, *words)] == ["INFO"]


def test_rows_that_are_left_out_are_reported(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    text = examples.BURSTGPT_OLD + "oops,ChatGPT,1,1,2,API log\n"
    assert logged(caplog, tmp_path, text, "--trace-skip-bad")[1:] == [
        ("WARNING", "--trace FILE: rows are left out: 1 without an answer, 1 wrong")
    ]

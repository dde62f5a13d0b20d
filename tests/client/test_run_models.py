"""Which models the requests of a run name, where rows of the prompts name some."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from locust.argument_parser import get_empty_argument_parser

from tokenswarm.client.option_values import OptionError
from tokenswarm.client.request_options import ChatOptions, add_options, as_detected
from tokenswarm.client.run_models import (
    label_of,
    log_models,
    models_of_run,
    warn_of_unlisted,
    with_default_model,
)

GivenRows = Callable[..., ChatOptions]


@pytest.fixture
def rows(tmp_path: Path) -> GivenRows:
    """Options for a batch file whose rows name these models, None for a row that names none."""

    def make(models: Sequence[str | None], *arguments: str) -> ChatOptions:
        file = tmp_path / f"{len(models)}-{len(arguments)}.jsonl"
        bodies = [
            {"messages": [{"role": "user", "content": f"How long is river {number}, and where does it begin?"}]}
            | ({"model": model} if model else {})
            for number, model in enumerate(models)
        ]
        lines = [
            {"custom_id": str(number), "method": "POST", "url": "/v1/chat/completions", "body": body}
            for number, body in enumerate(bodies)
        ]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        parser = get_empty_argument_parser(default_config_files=[])
        add_options(parser)
        return ChatOptions.of(
            parser.parse_args(["--prompts", str(file), "--prompt-tokens", "1:99", "--engine", "vllm", *arguments])
        )

    return make


def _names(options: ChatOptions) -> list[str]:
    return [member.name for member in models_of_run(options)]


def test_rows_that_all_name_a_model_need_no_model_of_the_run(rows: GivenRows) -> None:
    options = rows(["b", "a", "b"])
    found = with_default_model(options)
    assert (options.model, found.model) == ("", "a")
    assert _names(found) == ["a", "b"]
    assert [member.share for member in models_of_run(found)] == [None, None]
    assert label_of(found) == "a, b"


def test_rows_models_are_not_the_runs_where_requests_name_none(rows: GivenRows) -> None:
    options = rows(["b", "a", "b"])
    assert _names(as_detected(options, "vllm", "a")) == ["a", "b"]
    assert _names(as_detected(options, "tgi", "served")) == ["served"]


def test_a_row_that_names_no_model_needs_one_of_the_run(rows: GivenRows) -> None:
    options = rows(["b", None])
    assert with_default_model(options).model == ""
    assert _names(rows(["b", None], "--model", "")) == ["", "b"]


@pytest.mark.parametrize(("arguments", "names"), [(("--model", "c"), ["c"]), (("--models", "c d"), ["c", "d"])])
def test_models_of_options_replace_those_of_rows_and_the_log_says_so(
    rows: GivenRows, caplog: pytest.LogCaptureFixture, arguments: tuple[str, ...], names: list[str]
) -> None:
    options = rows(["b", "a", None], *arguments)
    assert with_default_model(options) == options
    assert _names(options) == names
    log_models(options)
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "'a', 'b'" in warning.getMessage()


def test_a_model_that_the_server_does_not_list_is_warned_of(rows: GivenRows, caplog: pytest.LogCaptureFixture) -> None:
    options = with_default_model(rows(["b", "a"]))
    warn_of_unlisted(options, ["a", "b", "c"])
    warn_of_unlisted(options, [])
    assert not [record for record in caplog.records if record.levelno == logging.WARNING]
    warn_of_unlisted(options, ["a", "c"])
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "does not list 'b'; it lists 'a', 'c'" in warning.getMessage()


def test_more_models_than_statistics_are_kept_of_are_refused(rows: GivenRows) -> None:
    assert len(_names(rows([f"m{number}" for number in range(16)]))) == 16
    with pytest.raises(OptionError, match="17 models"):
        models_of_run(rows([f"m{number}" for number in range(17)]))

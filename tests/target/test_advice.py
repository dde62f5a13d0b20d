"""What to check where a request failed: only what its failure can come from."""

from __future__ import annotations

import pytest

from tokenswarm.metrics.timeline import Outcome
from tokenswarm.target.advice import Failure, failure_text

URL = "http://gpu:8000/generate_stream"


@pytest.mark.parametrize(
    ("error", "names_model", "named", "not_named"),
    [
        ("HTTP 404: The model `wrong` does not exist", True, ["--model 'wrong'", "'real'"], ["--engine"]),
        ("HTTP 404: The model `tgi` does not exist", False, ["--engine"], ["--model", "'real'"]),
        ("HTTP 404: Not Found", True, [URL, "--engine", "--model 'wrong'", "'real'"], []),
        ("HTTP 404: Not Found", False, [URL, "--engine"], ["--model", "'real'"]),
        ("HTTP 422: inputs: field required", False, ["--engine"], ["--model", "'real'"]),
        ("HTTP 405: Method Not Allowed", False, [URL, "--engine"], ["--model", "log"]),
        (
            "HTTP 501: Unsupported method ('POST')",
            True,
            [URL, "--engine", "--model 'wrong'", "'real'"],
            ["overloaded", "log"],
        ),
    ],
)
def test_the_model_is_blamed_only_where_the_server_does(
    error: str, names_model: bool, named: list[str], not_named: list[str]
) -> None:
    """A wrong --engine is refused in other words than a wrong model, and some engines' requests name none."""
    failure = Failure(Outcome.HTTP_ERROR, int(error[5:8]), error, url=URL, names_model=names_model)
    text = failure_text(failure, "without system prompt", "http://gpu:8000", "wrong", ["real"])
    several = failure_text(failure, "for wrong", "http://gpu:8000", "wrong", ["real"], model_option="--models")
    assert ("--models" in several, "--model " in several) == ("--model" in text, False)
    advice = text.partition(error)[2].replace("--model ('wrong'", "--model 'wrong'")
    assert all(word in advice for word in named)
    assert not any(word in advice for word in not_named)


def test_a_model_that_the_server_lists_and_refuses_is_said_to_be_listed() -> None:
    failure = Failure(Outcome.HTTP_ERROR, 404, "HTTP 404: The model `base` does not exist", url=URL)
    advice = failure_text(failure, "without system prompt", "http://gpu:8000", "base", ["base", "adapter-1"])
    assert "lists --model 'base'" in advice and "also lists 'adapter-1'" in advice
    alone = failure_text(failure, "without system prompt", "http://gpu:8000", "base", ["base"])
    assert "lists --model 'base'" in alone and "also" not in alone


def test_models_that_a_server_lists_are_named_without_secrets_and_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_API_KEY", "sk-0123456789abcdef")
    failure = Failure(Outcome.HTTP_ERROR, 404, "HTTP 404: The model `wrong` does not exist", url=URL, names_model=True)
    listed = ["of sk-0123456789abcdef", "\x1b[31m", "x" * 10_000]
    text = failure_text(failure, "without system prompt", "http://gpu:8000", "wrong", listed)
    assert "'of [secret]'" in text
    assert "sk-0123" not in text and "\x1b" not in text
    assert len(text) < 1_500

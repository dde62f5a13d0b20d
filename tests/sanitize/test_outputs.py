"""What a process prints and logs, whoever writes it."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from tokenswarm.sanitize import (
    guarded_output,
    hide,
    is_output_lost,
    process,
    server_text,
    shown,
    shown_values,
    unguarded,
    without_secrets,
)
from tokenswarm.sanitize.text import FORMULA_STARTS, guarded

KEY = "sk-0123456789abcdef"


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_API_KEY", KEY)


def test_prints_logs_and_tracebacks_hold_neither_secrets_nor_controls(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    logger = logging.Logger("a library's own")
    with guarded_output():
        logger.addHandler(logging.StreamHandler(err))
        print(f"told: {KEY}\x1b[2J\x07\u202e", flush=True)
        try:
            raise OSError(f"refused {KEY}\x1b[31m")
        except OSError:
            logger.exception("failed with %s", KEY)
    for stream in (out, err):
        assert KEY not in stream.getvalue()
        assert not set("\x1b\x07\u202e") & set(stream.getvalue())
    assert "Traceback" in err.getvalue()
    assert out.getvalue().startswith("told: ")
    assert sys.stdout is out


def test_what_is_printed_to_a_standard_output_that_was_closed_is_reported_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", None)  # as Python starts with `>&-`
    with guarded_output():
        assert not is_output_lost()
        print("table", flush=True)
        print("more")
        assert is_output_lost()
    assert sys.stdout is None
    assert capsys.readouterr().err == (
        "tokenswarm: the output could not be written (the standard output is closed); files are not affected\n"
    )


def test_a_message_that_does_not_fit_its_arguments_is_reported_as_ever(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.Logger("mistaken")
    logger.addHandler(logging.StreamHandler(sys.stderr))
    with guarded_output():
        logger.error("%d tokens", "no")
    assert "Logging error" in capsys.readouterr().err


def test_a_servers_text_is_bounded_and_its_key_is_gone_even_where_it_is_cut() -> None:
    told = server_text("x" * 490 + KEY + "y" * 100_000, 500)
    assert len(told) == 500
    assert "sk-01234" not in told
    assert server_text(KEY[:9], 100) == "[secret]"


def test_documents_keep_their_lines_and_short_pieces_that_are_words_of_ours() -> None:
    assert shown(f"a\tb\nsk-012345 {KEY}\r") == "a\tb\nsk-012345 [secret]\\x0d"


@pytest.mark.parametrize("start", FORMULA_STARTS)
def test_a_guarded_cell_is_read_back(start: str) -> None:
    assert unguarded(guarded(f"{start}1")) == f"{start}1"
    assert guarded(f"{start}1")[0] not in FORMULA_STARTS
    assert unguarded(guarded("'quoted'")) == "'quoted'"


def test_an_exception_that_everybody_sees_keeps_its_place_and_loses_its_secret() -> None:
    with pytest.raises(KeyError) as raised:
        raise KeyError(f"no {KEY}")
    safe = without_secrets(raised.value)
    assert KEY not in str(safe)
    assert str(safe).startswith("KeyError")
    assert safe.__traceback__ is raised.value.__traceback__
    harmless = ValueError("no such thing")
    assert without_secrets(harmless) is harmless


def test_values_of_documents_are_shown_and_numbers_and_names_stay() -> None:
    document = {"a": [f"{KEY}\x1b", 1, 2.5, None], KEY: ({"b": "http://me:pass@h/"},)}
    assert shown_values(document) == {"a": ["[secret]\\x1b", 1, 2.5, None], KEY: [{"b": "http://[secret]@h/"}]}


def test_a_secret_of_a_file_is_hidden_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenswarm.sanitize.process._known", process._Known())
    assert shown("cluster-key-0123456789") == "cluster-key-0123456789"
    hide("cluster-key-0123456789")
    assert shown("cluster-key-0123456789") == "[secret]"

"""Whatever the fields of a row hold: it is a request, or a fault that names its line. Nothing else is raised."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from tests.prompts.traces import trace_examples as examples
from tokenswarm.prompts.traces.trace_files import read_trace
from tokenswarm.prompts.traces.trace_records import Trace, TraceError, TraceFormat

_MANY = "9" * 5000
_JSON = (
    *("null", "true", "false", "0", "-1", "1", "-0.0", "1.5", "1e308", "1e999", "NaN", "Infinity", _MANY, f"-{_MANY}"),
    *('""', '" "', '"x"', '"nan"', '"inf"', '"-1"', '"1_0"', f'"{_MANY}"', '"\\ud800"', '"\\u0000"'),
    *("[]", "[1]", "[[1]]", '["a"]', "[null]", "[true]", "[{}]", f"[{_MANY}]", "{}", '{"a": 1}', '{"a": [1]}'),
    *('[{"role": "user", "content": 5}]', '[{"role": ["user"], "content": "Hi"}]', '[{"role": "user"}, 5]'),
    *('[{"role": "user", "content": [{"type": []}]}]', '{"role": "user", "content": "Hi"}'),
)
_FIELDS = (
    *("timestamp", "input_length", "output_length", "hash_ids", "session_id", "text_input", "messages", "payload"),
    *("delay", "extra", "temperature", "tools", "model", "max_tokens", "system", "category", "custom_id", "type"),
    *("chat_id", "parent_chat_id", "turn", "request_id"),
)
_CELLS = (
    *("", "x", "-1", "nan", "inf", "1e999", "1e308", "1e-300", _MANY, "1_0", "٣", '"a', '"a\nb"', "\0", "1,2", "true"),
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0001-01-01", "2024-W01", "[1]", "{}", "-0", "1e3"),
)
_LENGTHS = '{"0": {"input_tokens": "{120: 0.5, 300: 0.5}", "output_tokens": "{40: 1.0}"}}'


def _sound(trace: Trace) -> bool:
    return bool(
        len(trace.times_s) == len(trace.sessions) == len(trace.input_tokens) == len(trace.output_tokens) > 0
        and np.isfinite(trace.times_s).all()
        and (trace.times_s >= 0).all()
        and (trace.input_tokens > 0).all()
        and (trace.output_tokens >= 0).all()
    )


def _outcome(file: Path, kind: TraceFormat, line: int, *, skip_bad: bool) -> str:
    """What is wrong with how the trace is read; empty for nothing."""
    try:
        trace = read_trace(str(file), kind, skip_bad=skip_bad)
    except TraceError as error:
        return "" if f"line {line}: " in str(error) and not skip_bad else f"refused: {error}"
    except Exception as error:
        return f"raised {error!r:.200}"
    return "" if _sound(trace) else "not sound"


def _json_rows(text: str) -> Iterator[tuple[str, str]]:
    """The name of a field and the text of a trace whose last row has an odd value in it."""
    *before, last = text.splitlines()
    fields = {name: json.dumps(value) for name, value in json.loads(last).items()}
    for name in dict.fromkeys((*fields, *_FIELDS)):
        for value in _JSON:
            row = ", ".join(f'"{key}": {cell}' for key, cell in (fields | {name: value}).items())
            yield f"{name}: {value[:40]}", "\n".join((*before, f"{{{row}}}", ""))


def _csv_rows(text: str) -> Iterator[tuple[str, str]]:
    lines = text.splitlines()
    cells = lines[-1].split(",")
    for place in range(len(cells)):
        for value in _CELLS:
            row = ",".join((*cells[:place], value, *cells[place + 1 :]))
            yield f"cell {place}: {value[:40]}", "\n".join((*lines, row, ""))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("mooncake", examples.MOONCAKE),
        ("mooncake", examples.AIPERF),
        ("bailian", examples.BAILIAN),
        ("servegen-offline", examples.OFFLINE_HASHES),
        ("servegen-offline", examples.OFFLINE_LENGTHS),
    ],
)
def test_odd_values_of_json_rows(tmp_path: Path, kind: str, text: str) -> None:
    _check(tmp_path / "trace.jsonl", TraceFormat(kind), _json_rows(text), len(text.splitlines()))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("azure", examples.AZURE_WEEK),
        ("azure", examples.AZURE_IMAGES),
        ("burstgpt", examples.BURSTGPT_OLD),
        ("burstgpt", examples.BURSTGPT_NEW),
    ],
)
def test_odd_cells_of_csv_rows(tmp_path: Path, kind: str, text: str) -> None:
    found = ((name, changed) for name, changed in _csv_rows(text) if '"' not in name)
    _check(tmp_path / "trace.csv", TraceFormat(kind), found, len(text.splitlines()) + 1)


def _check(file: Path, kind: TraceFormat, texts: Iterator[tuple[str, str]], line: int) -> None:
    wrong = []
    for name, text in texts:
        file.write_text(text)
        wrong += [
            f"{name}: {why}" for skip_bad in (False, True) if (why := _outcome(file, kind, line, skip_bad=skip_bad))
        ]
    assert not wrong


def test_odd_cells_of_windows_of_servegen(tmp_path: Path) -> None:
    wrong = []
    for name, text in _csv_rows("0,0.01,4,Gamma,0.5,0.3\n600,0.02,4.1,Weibull,0.42,0.35\n"):
        file = examples.servegen_client(tmp_path, text, _LENGTHS)
        if '"' not in name and (why := _outcome(file, TraceFormat.SERVEGEN, 3, skip_bad=False)):
            wrong.append(f"{name}: {why}")
    assert not wrong


@pytest.mark.slow
def test_odd_lengths_of_servegen(tmp_path: Path) -> None:
    values = [*_JSON, *(f'"{{{key}: {value}}}"' for key in _CELLS for value in _CELLS if '"' not in key + value)]
    second = '{{"0": {{"input_tokens": {}, "output_tokens": "{{40: 1.0}}"}}}}'
    texts = [*(second.format(value) for value in values), *(f'{{"0": {value}}}' for value in _JSON), *_JSON]
    texts += [_LENGTHS.replace('"0"', f'"{key}"') for key in _CELLS if '"' not in key]
    for text in texts:
        file = examples.servegen_client(tmp_path, "0,0.01,4,Gamma,0.5,0.3\n", text)
        with suppress(TraceError):
            assert _sound(read_trace(str(file), TraceFormat.SERVEGEN)), text[:200]


@pytest.mark.parametrize("session", ["[1]", "{}", "true", "1.5"])
def test_a_session_id_is_a_text_or_a_whole_number(tmp_path: Path, session: str) -> None:
    row = '{"timestamp": 0, "input_length": 9, "output_length": 1, "session_id": %s}\n'
    (file := tmp_path / "trace").write_text(row % 5 + row % '"5"' + row % session + row % 5 + row % "null")
    with pytest.raises(TraceError, match="line 3: expected session_id to be a text or a whole number, got"):
        read_trace(str(file))
    trace = read_trace(str(file), skip_bad=True)
    assert (trace.sessions.tolist(), dict(trace.skipped)) == ([0, 1, 0, -1], {"wrong": 1})


def test_weights_of_servegen_are_numbers(tmp_path: Path) -> None:
    for lengths in ("{1: 1e999}", f"{{{_MANY}: 1}}", f"{{1: {_MANY}}}"):
        file = examples.servegen_client(tmp_path, "0,1,1,Gamma,1,1\n", _LENGTHS.replace("{40: 1.0}", lengths))
        with pytest.raises(TraceError, match=r"dataset.json: second 0: expected lengths like"):
            read_trace(str(file))

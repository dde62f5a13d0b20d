"""A row that --trace-skip-bad leaves out leaves no trace: the rest is read as if the row were not in the file."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.prompts.traces import trace_examples as examples
from tokenswarm.prompts.traces.trace_files import read_trace
from tokenswarm.prompts.traces.trace_records import BAD_ROW, Trace, TraceError, TraceFormat

ROWS = 14


def mooncake(draw: random.Random, number: int) -> str:
    row = {"timestamp": number, "input_length": draw.choice([300, 512, 700, 1100, "x"])}
    return json.dumps(row | {"output_length": draw.choice([0, 5, 5]), "hash_ids": draw.choices(range(5), k=2)})


def bailian(draw: random.Random, number: int) -> str:
    chats = {"chat_id": draw.randrange(8), "parent_chat_id": draw.randrange(-1, 8), "timestamp": number}
    lengths = {"input_length": draw.choice([20, 40, 0]), "output_length": draw.choice([0, 3, 3])}
    return json.dumps(chats | lengths | {"hash_ids": draw.choices(range(5), k=draw.randrange(4))})


def offline(draw: random.Random, number: int) -> str:
    row = {"request_id": number, "input_length": draw.choice([20, 40, None])}
    return json.dumps(row | {"output_length": draw.choice([None, 0, 7, -1]), "hash_ids": draw.choices(range(5), k=2)})


def azure(draw: random.Random, number: int) -> str:
    time = draw.choice([f"2024-05-10 00:00:{number:02}", "soon", f'"2024-05-10 00:00:{number:02}', "2024-05-10"])
    tokens = draw.choice(["20", "40", "x", '"7'])
    return f"{time},{tokens},{draw.choice(['3', '0', ''])}"


def burstgpt(draw: random.Random, number: int) -> str:
    log = draw.choice(["API log", '"API log"', '"API log', "a,b"])
    session = draw.choice(["c-1", "", '"c-2'])
    return f"{number},{session},3.4,GPT-4,{draw.choice([5, 'x'])},{draw.choice([7, 0])},9,{log}"


def servegen(draw: random.Random, number: int) -> str:
    kind = draw.choice(["Gamma", "Weibull", '"Gamma', "Other"])
    return f"{number * 600},{draw.choice([0, 0.02, 'x'])},1.2,{kind},{draw.choice([0.7, 0])},1.9"


Draw = Callable[[random.Random, int], str]
FORMATS: dict[TraceFormat, tuple[str, Draw]] = {
    TraceFormat.MOONCAKE: (examples.MOONCAKE.splitlines()[0], mooncake),
    TraceFormat.BAILIAN: (examples.BAILIAN.splitlines()[0], bailian),
    TraceFormat.SERVEGEN_OFFLINE: (examples.OFFLINE_LENGTHS.splitlines()[0], offline),
    TraceFormat.AZURE: ("\n".join(examples.AZURE_WEEK.splitlines()[:2]), azure),
    TraceFormat.BURSTGPT: ("\n".join(examples.BURSTGPT_NEW.splitlines()[:2]), burstgpt),
    TraceFormat.SERVEGEN: (examples.SERVEGEN_WINDOWS.splitlines()[1], servegen),
}


def content(trace: Trace) -> tuple[object, ...]:
    columns = (trace.times_s, trace.input_tokens, trace.output_tokens, trace.sessions)
    sound = {reason: count for reason, count in trace.skipped.items() if reason != BAD_ROW}
    return (*(column.tolist() for column in columns), [*map(list, trace.hash_ids)], trace.contents, sound)


def without_bad_rows(file: Path, lines: list[str], kind: TraceFormat) -> tuple[Trace, int]:
    """The trace without the row that is wrong first, and then first again, and how many these are."""
    removed = 0
    while True:
        file.write_text("\n".join(lines) + "\n")
        try:
            return read_trace(str(file), kind), removed
        except TraceError as error:
            number = re.findall(r": line (\d+): ", str(error))[0]
        del lines[int(number) - 1]
        removed += 1


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_with_bad_rows_is_read_as_the_file_without_them(tmp_path: Path, kind: TraceFormat) -> None:
    begin, draw_row = FORMATS[kind]
    file = examples.servegen_client(tmp_path)
    bad = 0
    for seed in range(25):
        draw = random.Random(seed)
        lines = [*begin.splitlines(), *(draw_row(draw, number) for number in range(ROWS))]
        file.write_text("\n".join(lines) + "\n")
        skipping = read_trace(str(file), kind, skip_bad=True)
        rest, removed = without_bad_rows(file, lines, kind)
        assert skipping.skipped.get(BAD_ROW, 0) == removed, (seed, skipping.skipped)
        assert content(skipping) == content(rest), seed
        assert skipping.rows == rest.rows + removed
        bad += removed
    assert bad > 25

"""What real servers sent (tests/captures) is the same request however its bytes were cut.

Where there are more offsets than CUTS, as many are taken, spread over the response; a divisor that shares nothing with
the length of events sees to it that they fall anywhere in one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from tests.client.replayed import Replayed
from tokenswarm.client.request_spec import RequestSpec
from tokenswarm.client.streaming_request import StreamingRequest
from tokenswarm.client.timeouts import Timeouts
from tokenswarm.engines import ENGINES, ChatRequest
from tokenswarm.wire import StreamClient

CAPTURES = Path(__file__).resolve().parents[1] / "captures"
EXPECTED: dict[str, dict[str, Any]] = json.loads((CAPTURES / "expected.json").read_text(encoding="utf-8"))
CUTS = 200
CHAOS_CUTS = 2000
PATIENT = Timeouts(connect_s=60.0, first_token_s=60.0, idle_s=60.0, total_s=60.0)
QUESTION = ChatRequest(model="tiny", prompt="Why?", system_prompt=None, max_tokens=4096)


def told(engine: str, reads: list[bytes]) -> dict[str, Any]:
    """The request as expected.json tells it; tokens and prompt tokens are the server's own."""
    ask = StreamingRequest(
        cast("StreamClient", Replayed(reads, batch=7)),
        RequestSpec(
            ENGINES[engine],
            QUESTION,
            PATIENT,
            user="0.1",
            level=0,
            prompt_tokens=-1,
            prompt_tokens_source="estimate",
            count_tokens=len,
        ),
    )
    timeline = ask.run()
    counted = timeline.output_tokens_source == "tokenizer"
    return {
        "outcome": timeline.outcome.value,
        "status": timeline.status,
        "text": ask.text,
        "output_tokens": None if counted or not timeline.output_events else timeline.output_tokens,
        "prompt_tokens": timeline.prompt_tokens if timeline.prompt_tokens_source == "usage" else None,
        "finish_reason": timeline.finish_reason,
        "error": timeline.error,
    }


def offsets(length: int, cuts: int) -> range:
    return range(0, length + 1, max(1, length // cuts))


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
def test_a_capture_is_the_same_request_whole_byte_by_byte_and_cut_in_two(name: str) -> None:
    engine, expected = name.partition("/")[0], EXPECTED[name]
    data = (CAPTURES / f"{name}.raw").read_bytes()
    assert told(engine, [data]) == expected
    assert told(engine, [data[at : at + 1] for at in range(len(data))]) == expected
    for cut in offsets(len(data), CUTS):
        assert told(engine, [part for part in (data[:cut], data[cut:]) if part]) == expected, f"cut at {cut}"


@pytest.mark.chaos
@pytest.mark.parametrize("name", EXPECTED)
def test_a_capture_is_the_same_request_wherever_it_is_cut(name: str) -> None:
    engine, expected = name.partition("/")[0], EXPECTED[name]
    data = (CAPTURES / f"{name}.raw").read_bytes()
    for cut in offsets(len(data), CHAOS_CUTS):
        assert told(engine, [part for part in (data[:cut], data[cut:]) if part]) == expected, f"cut at {cut}"


def test_every_capture_of_an_answer_has_its_reading() -> None:
    kept = {f"{path.parent.name}/{path.stem}" for path in CAPTURES.glob("*/*.raw")}
    of_no_engine = {name for name in kept if "/get_" in name or "/completions_" in name}
    asked_with_get = {name for name in kept if name.endswith(("_wrong_method", "_get_health"))}
    assert set(EXPECTED) == kept - of_no_engine - asked_with_get


def test_an_answer_that_breaks_off_cleanly_cannot_be_told_from_a_whole_one() -> None:
    """BentoML's service raised after three words. This is no wish, but what there is."""
    broken, whole = EXPECTED["bentoml/err_midstream_exception"], EXPECTED["bentoml/generate_accept_event_stream"]
    assert broken["outcome"] == whole["outcome"] == "ok"
    assert broken["text"] == "the quick brown "

"""A damaged stream of any dialect ends as documented, and the same however its bytes were split into reads."""

from __future__ import annotations

import os
from random import Random
from typing import Any, NamedTuple, cast

import pytest

from tests.client.mutations import Case, cut, mutated
from tests.client.replayed import Replayed
from tests.engines.streams import SPECS
from tokenswarm.client.request_spec import RequestSpec
from tokenswarm.client.streaming_request import StreamingRequest
from tokenswarm.client.timeouts import Timeouts
from tokenswarm.engines import ChatRequest
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.wire import StreamClient

PATIENT = Timeouts(connect_s=60.0, first_token_s=60.0, idle_s=60.0, total_s=60.0)
QUESTION = ChatRequest(model="tiny", prompt="Why?", system_prompt=None, max_tokens=64)
QUICK, LONG = 10_000, 1_000_000
#: How many processes share the long run: one, unless the environment says otherwise.
SHARES = int(os.environ.get("CHAOS_SHARES", "1"))
SHARE = int(os.environ.get("CHAOS_SHARE", "0"))
DOCUMENTED = {Outcome.OK, Outcome.STREAM_ERROR, Outcome.TRUNCATED, Outcome.EMPTY, Outcome.ABORTED, Outcome.HTTP_ERROR}


class Seen(NamedTuple):
    outcome: Outcome
    error: str | None
    text: str
    tokens: int
    events: int
    source: str
    prompt_tokens: int | None
    finish_reason: str | None
    ended_properly: bool
    status: int | None


def seen(engine: str, reads: list[bytes], batch: int) -> Seen:
    """Any exception that leaves the request is a finding."""
    ask = StreamingRequest(
        cast("StreamClient", Replayed(reads, batch)),
        RequestSpec(
            SPECS[engine],
            QUESTION,
            PATIENT,
            user="0.1",
            level=0,
            prompt_tokens=2,
            prompt_tokens_source="estimate",
            count_tokens=len,
        ),
    )
    ask._count = lambda: None  # type: ignore[method-assign] # in a thread, which is not what is tested
    told = ask.run()
    by_reads = engine == "bentoml"  # bare text has no events: each read is one
    return Seen(
        told.outcome,
        told.error,
        ask.text,
        0 if by_reads else told.output_tokens,
        0 if by_reads else told.output_events,
        told.output_tokens_source.value,
        told.prompt_tokens,
        told.finish_reason,
        told.end_ns is not None,
        told.status,
    )


def check(seed: int, number: int, splits: int = 1) -> str | None:
    """What is wrong with the case, None if nothing is."""
    random = Random(f"{seed} {number}")
    case = mutated(random)
    if not case.response:
        return None
    try:
        whole = seen(case.engine, [case.response], 1)
        if whole.outcome not in DOCUMENTED:
            return f"case {seed}/{number}: {case}: {whole}"
        for _ in range(splits):
            reads = cut(random, case.response)
            other = seen(case.engine, list(reads), random.choice((1, 1, 3, 40)))
            if other != whole:
                return f"case {seed}/{number}: {case}\nin reads {reads}\nwhole: {whole}\nsplit: {other}"
    except Exception as error:
        return f"case {seed}/{number}: {case}: {error!r}"
    return None


def findings(seed: int, numbers: range) -> list[str]:
    found: list[str] = []
    for number in numbers:
        if (finding := check(seed, number)) is not None:
            found.append(finding)
            if len(found) == 5:
                break
    return found


@pytest.mark.slow
def test_a_damaged_stream_is_the_same_request_however_it_is_split() -> None:
    assert not findings(1, range(QUICK))


@pytest.mark.chaos
def test_a_million_damaged_streams_are_the_same_requests_however_they_are_split() -> None:
    assert not findings(2, range(SHARE, LONG, SHARES))


@pytest.mark.slow
def test_damage_reaches_every_dialect_and_every_ending() -> None:
    """The generator is worth something only if most of what it makes is neither whole nor refused at once."""
    cases: list[Case] = [mutated(Random(f"3 {number}")) for number in range(2000)]
    assert {case.engine for case in cases} == set(SPECS)
    endings: dict[Any, int] = {}
    for case in cases:
        whole = seen(case.engine, [case.response], 1)
        endings[whole.outcome] = endings.get(whole.outcome, 0) + 1
    assert set(endings) == DOCUMENTED - {Outcome.HTTP_ERROR}
    assert min(endings.values()) >= 10
    assert sum(bool(seen(case.engine, [case.response], 1).text) for case in cases) > 1000

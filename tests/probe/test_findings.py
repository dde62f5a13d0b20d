"""What traces say of a server: each trap by itself, and none where there is none."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tokenswarm.probe.findings import ProbeTraces, misleading, options_followed, prefix_cache
from tokenswarm.probe.stream_trace import StreamTrace

PLAIN = StreamTrace(
    outcome="ok",
    error=None,
    status=200,
    connect_s=0.001,
    headers_s=0.002,
    first_byte_s=0.1,
    first_event_s=0.1,
    first_output_s=0.1,
    last_output_s=2.0,
    end_s=2.0,
    body_bytes=9000,
    http_chunks=66,
    reads=64,
    reads_with_kernel_time=64,
    events=66,
    output_events=64,
    outputs_in_largest_read=2,
    comments=0,
    prompt_tokens=30,
    tokens={"usage": 64, "events": 64},
    finish_reason="stop",
    keep_alive_promised=True,
    clock_ahead_s=0.4,
    headers={},
    text="…",
)
COLD = msgspec.structs.replace(PLAIN, prompt_tokens=300, first_output_s=0.4)


def traces(plain: dict[str, Any] | None = None, **changes: Any) -> ProbeTraces:
    """All is well, but for what is changed."""
    usual: dict[str, Any] = {
        "plain": msgspec.structs.replace(PLAIN, **plain or {}),
        "brief": msgspec.structs.replace(PLAIN, tokens={"usage": 3, "events": 3}),
        "exact": msgspec.structs.replace(PLAIN, tokens={"usage": 128, "events": 128}),
        "exact_tokens": 128,
        "mistyped": None,
        "without_usage": msgspec.structs.replace(PLAIN, tokens={"events": 64}),
        "cold": COLD,
        "warm": COLD,
        "cached_tokens": 0.0,
    }
    return ProbeTraces(**usual | changes)


def test_nothing_is_said_of_a_server_that_misleads_in_nothing() -> None:
    assert misleading(traces(), kept_alive=True, counted_by_us=False) == []


@pytest.mark.parametrize(
    ("plain", "sentence"),
    [
        ({"first_event_s": 0.0123}, "The first event comes 87.7 ms before the first output"),
        ({"comments": 3}, "3 comment lines come before the first output"),
        ({"outputs_in_largest_read": 60}, "60 of 64 outputs arrived at once"),
        ({"reads_with_kernel_time": 60}, "4 of 64 reads have no receive time from the kernel"),
        ({"clock_ahead_s": -3605.2}, "The server's clock is 3605 s behind this machine's"),
        ({"tokens": {"events": 64}}, "The server reports no token counts: give --tokenizer"),
        ({"tokens": {"usage": 128, "events": 64}}, "An event holds 2.0 tokens on average"),
        ({"tokens": {"usage": 64, "tokenizer": 90, "events": 64}}, "The server counts 64 tokens, --tokenizer 90"),
        ({"finish_reason": None}, "The server sends no finish reason"),
    ],
)
def test_each_trap_is_told_in_a_sentence_and_nothing_else_is(plain: dict[str, Any], sentence: str) -> None:
    (told,) = misleading(traces(plain), kept_alive=True, counted_by_us=False)
    assert told.startswith(sentence)
    assert told.endswith(".")


def test_a_connection_that_was_promised_to_be_kept_and_was_not() -> None:
    (told,) = misleading(traces(), kept_alive=False, counted_by_us=False)
    assert told.startswith("The server promises to keep the connection open and closes it")
    assert misleading(traces({"keep_alive_promised": False}), kept_alive=False, counted_by_us=False) == []


def headers_at(plain_s: float, others_s: float) -> list[str]:
    """What is reported where the headers of the plain response, and those of the others, arrive then."""
    requests = ("brief", "exact", "without_usage", "cold", "warm")
    others = {name: msgspec.structs.replace(getattr(traces(), name), headers_s=others_s) for name in requests}
    return misleading(traces({"headers_s": plain_s}, **others), kept_alive=True, counted_by_us=False)


def test_headers_come_only_with_the_first_token_where_all_responses_show_it() -> None:
    cold_s, warm_s = 0.4, 0.0995
    others = {
        "brief": msgspec.structs.replace(PLAIN, headers_s=0.1),
        "exact": msgspec.structs.replace(PLAIN, tokens={"usage": 128, "events": 128}, headers_s=0.0995),
        "without_usage": msgspec.structs.replace(PLAIN, headers_s=0.0995),
        "cold": msgspec.structs.replace(COLD, headers_s=cold_s),
        "warm": msgspec.structs.replace(COLD, headers_s=warm_s, first_output_s=0.1),
        "cached_tokens": 0.0,
    }
    (sentence,) = misleading(traces({"headers_s": 0.0995}, **others), kept_alive=True, counted_by_us=False)
    assert sentence.startswith("Headers come only with the first token")


@pytest.mark.parametrize("plain_s", [0.0995, 0.1])
def test_headers_read_with_the_first_token_once_do_not_show_that_the_server_held_them(plain_s: float) -> None:
    (sentence,) = headers_at(plain_s, others_s=0.002)
    assert sentence.startswith("Headers and first token were read together")


def test_headers_read_with_the_first_token_in_another_response_alone_are_no_trap() -> None:
    assert headers_at(0.002, others_s=0.0995) == []


def test_headers_that_nothing_can_be_compared_with_do_not_show_that_the_server_held_them() -> None:
    """The other responses failed, or came too soon to show anything."""
    failed = msgspec.structs.replace(PLAIN, outcome="http_error", first_output_s=None)
    fast = msgspec.structs.replace(COLD, headers_s=0.005, first_output_s=0.005)
    others = {"brief": failed, "exact": None, "without_usage": None, "cold": fast, "warm": fast}
    (sentence,) = misleading(traces({"headers_s": 0.1}, **others), kept_alive=True, counted_by_us=False)
    assert sentence.startswith("Headers and first token were read together")


def test_headers_that_come_at_once_before_a_token_that_does_too_are_no_trap() -> None:
    """Of a server so fast that the two cannot be told apart, nothing is said."""
    fast = {"headers_s": 0.0008, "first_event_s": 0.001, "first_output_s": 0.001}
    assert misleading(traces(fast), kept_alive=True, counted_by_us=False) == []


def test_a_token_that_is_counted_and_not_shown_is_no_trap() -> None:
    """The end of sequence, say: 65 tokens in 64 events."""
    plain = {"tokens": {"usage": 65, "events": 64}}
    assert misleading(traces(plain), kept_alive=True, counted_by_us=False) == []


@pytest.mark.parametrize(
    ("changes", "followed", "because"),
    [
        ({}, "yes", "128 tokens came, 3 without it"),
        (
            {"brief": msgspec.structs.replace(PLAIN, tokens={"usage": 128, "events": 128})},
            "unknown",
            "128 tokens came, but as many came without it",
        ),
        (
            {
                "brief": msgspec.structs.replace(PLAIN, tokens={"usage": 128, "events": 128}),
                "mistyped": msgspec.structs.replace(PLAIN, outcome="http_error", status=400),
            },
            "yes",
            "128 tokens came, and the server refuses the option with a wrong type",
        ),
        (
            {"exact": msgspec.structs.replace(PLAIN, tokens={"usage": 70, "events": 70})},
            "no",
            "70 of 128 requested tokens came",
        ),
        ({"exact": None}, "no", "this dialect has no option for an exact length"),
        (
            {"exact": msgspec.structs.replace(PLAIN, tokens={"events": 128})},
            "unknown",
            "neither the server nor --tokenizer counted the tokens",
        ),
        (
            {"exact": msgspec.structs.replace(PLAIN, outcome="http_error", error="HTTP 400: no", tokens={"usage": 0})},
            "no",
            "0 of 128 requested tokens came (HTTP 400: no)",
        ),
    ],
)
def test_whether_an_exact_length_is_kept(changes: dict[str, Any], followed: str, because: str) -> None:
    option = options_followed(traces(**changes))[0]
    assert (option.name, option.followed, option.because) == ("--ignore-eos", followed, because)


@pytest.mark.parametrize(
    ("plain", "without_usage", "followed", "because"),
    [
        ({}, {"events": 64}, "yes", "it comes if stream_options request it, which a run always does"),
        ({}, {"usage": 64, "events": 64}, "yes", "it comes requested or not"),
        ({}, None, "yes", "it comes without being requested"),
        ({"tokens": {"events": 64}}, {"events": 64}, "no", "no count of tokens came with the answer"),
    ],
)
def test_whether_usage_comes(
    plain: dict[str, Any], without_usage: dict[str, int] | None, followed: str, because: str
) -> None:
    answer = None if without_usage is None else msgspec.structs.replace(PLAIN, tokens=without_usage)
    option = options_followed(traces(plain, without_usage=answer))[1]
    assert (option.followed, option.because) == (followed, because)


@pytest.mark.parametrize(("tokens", "followed"), [(300, "yes"), (30, "no"), (None, "unknown")])
def test_whether_the_system_prompt_reaches_the_model(tokens: int | None, followed: str) -> None:
    cold = msgspec.structs.replace(COLD, prompt_tokens=tokens)
    assert options_followed(traces(cold=cold))[2].followed == followed


@pytest.mark.parametrize(
    ("warm_s", "cached", "followed"),
    [
        (0.1, 288.0, "yes"),  # the server counts it
        (0.39, 288.0, "yes"),
        (0.1, 0.0, "no"),  # it would have counted it: something else made the second one quick
        (0.1, None, "yes"),  # nobody counts, but the time says it
        (0.39, None, "unknown"),
        (0.396, 0.0, "no"),
    ],
)
def test_whether_a_prompt_that_was_seen_before_costs_less(warm_s: float, cached: float | None, followed: str) -> None:
    told = traces(warm=msgspec.structs.replace(COLD, first_output_s=warm_s), cached_tokens=cached)
    option = prefix_cache(told)
    assert (option.name, option.followed) == ("prefix cache", followed)
    assert f"TTFT 400.0 ms at first, {warm_s * 1000:.1f} ms when repeated" in option.because
    sentences = misleading(told, kept_alive=True, counted_by_us=False)
    assert any(sentence.startswith("The prefix cache is on") and "TTFT" in sentence for sentence in sentences) == (
        followed == "yes"
    )

"""The batching model, by examples computed by hand. Times in the examples are milliseconds."""

from dataclasses import replace
from itertools import pairwise
from statistics import fmean
from typing import Any

import pytest

from tests.simulator.closed_loop import level
from tokenswarm.simulator.batching import Batch, Job, Speed
from tokenswarm.simulator.errors import SimulatorError
from tokenswarm.simulator.prefix_cache import block_keys
from tokenswarm.simulator.profiles import PROFILES

MS = 1_000_000
# A step of 10, 1 more for each decoding sequence; a prompt token costs 1, a prompt 5.
SPEED = Speed(step_ms=10, sequence_ms=1, prefill_tokens_per_s=1000, prefill_ms=5, max_batch=4)


def job(number: int, prompt_tokens: int = 20, wanted: int = 3, at: float = 0, name: str = "") -> Job:
    tokens = [f"{name or number}/{index}" for index in range(prompt_tokens)]
    return Job(number, prompt_tokens, block_keys(tokens), wanted, round(at * MS))


def run(batch: Batch, jobs: list[Job]) -> dict[int, list[float]]:
    """Submit each job at its time and collect when each got its tokens, in ms, until the engine is idle."""
    tokens: dict[int, list[float]] = {one.number: [] for one in jobs}
    pending = sorted(jobs, key=lambda one: one.arrived_ns)
    while pending or batch.due_ns is not None:
        if pending and (batch.due_ns is None or pending[0].arrived_ns < batch.due_ns):
            batch.submit(pending.pop(0))
            continue
        step = batch.advance(batch.due_ns or 0)
        assert step is not None
        for one in step.jobs:
            tokens[one.number].append(step.due_ns / MS)
    return tokens


def test_a_lone_request_pays_its_prompt_once_and_then_a_step_a_token() -> None:
    assert run(Batch(SPEED), [job(0, prompt_tokens=20, wanted=3)]) == {0: [35, 46, 57]}


def test_a_step_grows_with_the_batch() -> None:
    times = run(Batch(SPEED), [job(0, wanted=6), job(1, at=1, wanted=4)])
    # Job 1 waits for the step that ends at 35; that one then takes 10 + 1 + 20 + 5, the next two 10 + 2 x 1.
    assert times == {0: [35, 71, 83, 95, 107, 118], 1: [71, 83, 95, 107]}


def test_a_pause_stops_everybody_once_and_lets_nobody_in() -> None:
    batch = Batch(SPEED)
    batch.submit(job(0, wanted=4))
    assert batch.advance(35 * MS) is not None
    batch.pause(1000 * MS)  # the step under way lasts as planned
    batch.submit(job(1, at=40, wanted=2))
    ended_ms: dict[float, list[int]] = {}
    while batch.due_ns is not None:
        step = batch.advance(batch.due_ns)
        assert step is not None
        ended_ms[step.due_ns / MS] = [one.number for one in step.jobs]
    # Job 1's prompt is in the step that takes longer: 10 + 1 + 20 + 5, and the pause.
    assert ended_ms == {46: [0], 1082: [0, 1], 1094: [0, 1]}


def test_a_newcomers_prompt_slows_everybody() -> None:
    alone = run(Batch(SPEED), [job(0, wanted=4)])[0]
    disturbed = run(Batch(SPEED), [job(0, wanted=4), job(1, prompt_tokens=200, at=40, wanted=1)])[0]
    assert alone == [35, 46, 57, 68]
    assert disturbed == [35, 46, 262, 273]


def test_requests_beyond_the_batch_wait_in_arrival_order() -> None:
    one_at_a_time = replace(SPEED, max_batch=1)
    times = run(Batch(one_at_a_time), [job(2, at=3, wanted=1), job(0, at=1, wanted=2), job(1, at=2, wanted=1)])
    assert times == {0: [36, 47], 1: [82], 2: [117]}


def test_the_queue_is_counted_apart_from_the_batch() -> None:
    batch = Batch(replace(SPEED, max_batch=1))
    for number in range(3):
        batch.submit(job(number))
    assert (batch.running, batch.waiting) == (1, 2)


def test_a_long_prompt_is_computed_in_pieces_while_others_decode() -> None:
    batch = Batch(replace(SPEED, step_tokens=50))
    times = run(batch, [job(0, wanted=5), job(1, prompt_tokens=100, at=1, wanted=1)])
    # Beside one decoding sequence, 49 prompt tokens fit into a step: 49, 49, then the last 2.
    assert times == {0: [35, 35 + 65, 35 + 130, 35 + 148, 35 + 159], 1: [35 + 148]}


def test_a_shared_system_prompt_makes_the_second_prompt_cheaper() -> None:
    batch = Batch(SPEED)
    first, second = job(0, 40, wanted=1, name="same"), job(1, 40, wanted=1, at=100, name="same")
    times = run(batch, [first, second])
    assert (first.cached_tokens, second.cached_tokens) == (0, 32)
    assert times == {0: [55], 1: [100 + 10 + 8 + 5]}
    assert (batch.queried_tokens, batch.hit_tokens, batch.prefilled_prompt_tokens) == (80, 32, 80)


def test_the_last_prompt_token_is_computed_even_if_all_blocks_are_cached() -> None:
    second = job(1, 32, wanted=1, at=100, name="same")
    run(Batch(SPEED), [job(0, 32, wanted=1, name="same"), second])
    assert second.cached_tokens == 16


def test_prompts_computed_in_the_same_step_do_not_share() -> None:
    jobs = [job(0, wanted=1), job(1, 40, at=1, wanted=1, name="same"), job(2, 40, at=2, wanted=1, name="same")]
    run(Batch(SPEED), jobs)
    assert [one.cached_tokens for one in jobs] == [0, 0, 0]


def test_without_a_cache_every_prompt_is_computed() -> None:
    second = job(1, 40, wanted=1, at=100, name="same")
    run(Batch(replace(SPEED, cache_blocks=0)), [job(0, 40, wanted=1, name="same"), second])
    assert second.cached_tokens == 0


def test_a_cancelled_job_gets_nothing_and_frees_its_place_at_the_steps_end() -> None:
    batch = Batch(replace(SPEED, max_batch=1))
    first, second = job(0, wanted=100), job(1, wanted=1)
    batch.submit(first)
    batch.submit(second)
    batch.cancel(first)
    step = batch.advance(35 * MS)
    assert step is not None and step.jobs == []
    assert (batch.running, batch.waiting, batch.due_ns) == (1, 0, 70 * MS)


def test_a_job_cancelled_in_the_queue_never_runs() -> None:
    batch = Batch(replace(SPEED, max_batch=1))
    jobs = [job(number, wanted=1) for number in range(3)]
    for one in jobs:
        batch.submit(one)
    batch.cancel(jobs[1])
    while batch.due_ns is not None:
        batch.advance(batch.due_ns)
    assert [one.produced for one in jobs] == [1, 0, 1]


def test_an_idle_engine_starts_at_the_arrival() -> None:
    assert run(Batch(SPEED), [job(0, wanted=1), job(1, at=500, wanted=1)]) == {0: [35], 1: [535]}


def test_nothing_happens_before_a_step_is_due() -> None:
    batch = Batch(SPEED)
    batch.submit(job(0))
    assert batch.advance(35 * MS - 1) is None
    assert batch.advance(35 * MS) is not None


def test_a_late_caller_does_not_shift_the_schedule() -> None:
    batch = Batch(SPEED)
    batch.submit(job(0))
    step = batch.advance(39 * MS)
    assert step is not None and step.due_ns == 35 * MS
    assert batch.due_ns == 46 * MS


def test_a_caller_late_by_more_than_a_step_goes_on_from_now() -> None:
    batch = Batch(SPEED)
    batch.submit(job(0))
    batch.advance(1000 * MS)
    assert batch.due_ns == 1011 * MS


def test_jitter_is_the_same_under_the_same_seed_and_another_under_another() -> None:
    noisy = replace(SPEED, jitter=0.2)
    first, again, other = (run(Batch(noisy, seed), [job(0, wanted=50)]) for seed in (1, 1, 2))
    assert first == again != other


def test_jitter_leaves_the_mean_step_as_it_is() -> None:
    times = run(Batch(replace(SPEED, jitter=0.2), 7), [job(0, wanted=20_000)])[0]
    assert fmean(later - earlier for earlier, later in pairwise(times)) == pytest.approx(11, rel=0.01)


def test_prompts_computed_alone_stop_the_others_and_come_sooner() -> None:
    jobs = [job(0, wanted=4), job(1, at=40, wanted=1)]
    assert run(Batch(replace(SPEED, prefill_alone=True)), jobs) == {0: [35, 46, 92, 103], 1: [81]}


def test_the_gap_of_those_who_decode_includes_the_steps_that_left_them_out() -> None:
    batch = Batch(replace(SPEED, prefill_alone=True))
    batch.submit(job(0, wanted=4))
    steps = [batch.advance(batch.due_ns or 0) for _ in range(2)]
    batch.submit(job(1, at=40, wanted=1))
    while batch.due_ns is not None:
        steps.append(batch.advance(batch.due_ns))
    told = [(step.due_ns / MS, len(step.jobs), step.firsts, step.gap_ns / MS) for step in steps if step]
    # The third token's step was under way when job 1 came.
    assert told == [(35, 1, 1, 35), (46, 1, 0, 11), (57, 1, 0, 11), (92, 1, 1, 35), (103, 1, 0, 46)]


def test_a_few_prompts_wait_beside_many_who_decode_but_not_for_ever() -> None:
    patient = replace(SPEED, prefill_ratio=1, prefill_patience=3)
    decoding = [job(0, wanted=30), job(1, wanted=30)]
    # Two decode from 71 on: one prompt waits for three steps of 12, then is computed beside them.
    assert run(Batch(patient), [*decoding, job(2, at=40, wanted=1)])[2] == [107 + 37]
    decoding = [job(0, wanted=30), job(1, wanted=30)]
    both = run(Batch(patient), [*decoding, job(2, at=40, wanted=1), job(3, at=41, wanted=1)])
    assert both[2] == both[3] == [71 + 62]


def test_a_full_batch_becomes_slower_until_it_has_been_idle() -> None:
    batch = Batch(replace(SPEED, max_batch=1, slowdown=1, slowdown_s=0.1))
    times = run(batch, [job(0, wanted=4), job(1, at=1000, wanted=4)])
    steps = [later - earlier for earlier, later in pairwise([0, *times[0]])]
    assert steps == pytest.approx([35, 11 * 1.35, 11 * 1.4985, 11 * 1.663335])
    assert [at - 1000 for at in times[1]] == pytest.approx(times[0])


def test_a_batch_with_room_is_as_fast_as_ever() -> None:
    assert run(Batch(replace(SPEED, slowdown=1, slowdown_s=0.1)), [job(0, wanted=3)]) == {0: [35, 46, 57]}


def test_the_caches_use_counts_prompts_and_answers_in_blocks() -> None:
    batch = Batch(replace(SPEED, kv_blocks=8))
    batch.submit(job(0, prompt_tokens=20, wanted=30))
    assert batch.kv_usage == 2 / 8
    for _ in range(12):
        batch.advance(batch.due_ns or 0)
    assert batch.kv_usage == 3 / 8


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("step_ms", 0),
        ("step_ms", float("nan")),
        ("sequence_ms", -1),
        ("max_batch", 0),
        ("jitter", 3),
        ("prefill_ms", -1),
        ("prefill_ratio", -1),
        ("slowdown_s", 0),
        ("kv_blocks", 0),
    ],
)
def test_a_speed_that_cannot_be_is_refused_by_name(field: str, value: Any) -> None:
    option = "--" + field.replace("_", "-")
    with pytest.raises(SimulatorError, match=f"{option} must be from .* got "):
        replace(SPEED, **{field: value})


def test_a_token_budget_that_decoding_would_use_up_is_refused() -> None:
    with pytest.raises(SimulatorError, match=r"--step-tokens must be more than --max-batch \(4\), got 4"):
        replace(SPEED, step_tokens=4)


@pytest.mark.parametrize(("users", "low", "high"), [(10, 700, 800), (50, 1800, 2100), (100, 2300, 2500)])
def test_the_default_profile_is_as_fast_as_it_says(users: int, low: float, high: float) -> None:
    assert low <= level(PROFILES["default"], users, seconds=60).token_rate(30, 60) <= high

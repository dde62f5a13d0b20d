"""One line says where a run stands."""

from __future__ import annotations

from dataclasses import replace

from reports.progress import Progress, progress_line

HOLDING = Progress(
    elapsed_s=754.2,
    stage_index=1,
    stages=6,
    users=50,
    users_target=50,
    system_prompt="off",
    phase="hold",
    tokens_per_s=2431.4,
    ttft_p50_s=0.2534,
    in_flight=48,
    failures=1,
)


def test_the_line_tells_everything_with_its_unit() -> None:
    assert progress_line(HOLDING) == (
        "12:34  stage 2/6    50/50 users  system prompt off  hold     2,431 tokens/s  TTFT p50  253 ms"
        "   48 in flight  1 failure"
    )


def test_a_window_without_tokens_shows_dashes_not_zeros() -> None:
    line = progress_line(replace(HOLDING, tokens_per_s=None, ttft_p50_s=None))
    assert "     – tokens/s  TTFT p50       –" in line


def test_fields_keep_their_place_from_line_to_line() -> None:
    ramping = replace(HOLDING, elapsed_s=3, users=4, phase="ramp", system_prompt="on", tokens_per_s=9.5, ttft_p50_s=1.5)
    first, second = progress_line(ramping), progress_line(HOLDING)
    for word in ("stage", "users", "tokens/s", "TTFT", "in flight"):
        assert first.index(word) == second.index(word)
    assert len(second) <= 120

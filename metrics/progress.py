"""Where a run stands, in numbers: what a terminal or a page shows while it goes on."""

from __future__ import annotations

from dataclasses import dataclass

from metrics.ledger import WINDOW_S, Ledger


@dataclass(frozen=True, slots=True)
class Progress:
    """A run at one moment.

    `stage_index` counts from 0; `stages` is how many the plan has. `tokens_per_s` is of the time since the last
    Progress, from the events that came in it; `ttft_p50_s` of requests that were sent in the running window or the
    five before it and have ended. Both None where nothing came. `failures` is since the run began.
    """

    elapsed_s: float
    stage_index: int
    stages: int
    users: int
    users_target: int
    system_prompt: str
    phase: str
    tokens_per_s: float | None
    ttft_p50_s: float | None
    in_flight: int
    failures: int


class ProgressMeter:
    """Makes a Progress from the books; keeps what the last one was told."""

    def __init__(self, stages: int) -> None:
        self._stages = stages
        self._events = 0
        self._at_s = 0.0

    def read(self, ledger: Ledger, users: int, now_s: float) -> Progress | None:
        """None while no level runs."""
        level = ledger.running_level
        if level is None:
            return None
        events = ledger.arrived_events
        came, lasted_s = events - self._events, now_s - self._at_s
        self._events, self._at_s = events, now_s
        # A running stream's tokens are not known before its end, its events are: what one held so far is the measure.
        tokens_per_event = ledger.output_tokens / ledger.output_events if ledger.output_events else 1.0
        elapsed_s = now_s - level.began_s
        return Progress(
            elapsed_s=now_s,
            stage_index=level.stage.stage,
            stages=self._stages,
            users=users,
            users_target=level.stage.users,
            system_prompt=level.stage.system_prompt,
            phase=level.stage.phase_at(elapsed_s).value,
            tokens_per_s=came * tokens_per_event / lasted_s if came and lasted_s > 0 else None,
            ttft_p50_s=_recent_ttft_p50_s(ledger, level.stage.stage, int(elapsed_s / WINDOW_S)),
            in_flight=ledger.in_flight,
            failures=ledger.failures,
        )


def _recent_ttft_p50_s(ledger: Ledger, stage: int, window: int) -> float | None:
    recent = sorted(
        ttft_ns
        for number in range(max(0, window - 5), window + 1)
        if (stage, number) in ledger.windows
        for ttft_ns in ledger.windows[stage, number].ttfts_ns
    )
    return recent[(len(recent) - 1) // 2] / 1e9 if recent else None

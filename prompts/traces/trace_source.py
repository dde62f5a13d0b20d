"""A replayed trace in place of a data set: what results record of it."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import msgspec

from tokenswarm.metrics.trace_replay import TraceReplay, TraceSpread
from tokenswarm.prompts.traces.replay_plan import ReplayPlan, replay_plan


@dataclass(frozen=True, slots=True)
class TraceSource:
    """A replay and its plan; another one once the file has changed."""

    replay: TraceReplay
    plan: ReplayPlan

    @classmethod
    def of(cls, replay: TraceReplay) -> TraceSource:
        """What takes seconds of a large trace is done here, before processes are forked. Raises TraceError."""
        plan = replay_plan(replay)
        _ = plan.shared_blocks
        return cls(replay, plan)

    @property
    def name(self) -> str:
        """As run.json calls the source."""
        return f"trace {self.replay.path}"

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal), equal for replays of the same requests, whenever they are due."""
        untimed = msgspec.structs.replace(self.replay, path="", speed=1.0, rate=None, spread=TraceSpread.OFF)
        options = msgspec.json.encode(untimed)
        return sha256(self.plan.trace.sha256.encode() + options).hexdigest()

    def facts(self) -> dict[str, str | int | float]:
        """What run.json records of it: the file, its rows, and those that are not replayed, with the reason."""
        plan, trace = self.plan, self.plan.trace
        skipped = {f"trace_skipped_{reason.replace(' ', '_')}": count for reason, count in trace.skipped.items()}
        return {
            "source": self.name,
            "fingerprint": self.fingerprint,
            "conversations": 0,
            "trace_format": trace.format.value,
            "trace_sha256": trace.sha256,
            "trace_rows": trace.rows,
            **skipped,
            "trace_requests": len(plan),
            "trace_speed": plan.speed,
            "trace_shared_timestamps": plan.shared_timestamps.share,
        }

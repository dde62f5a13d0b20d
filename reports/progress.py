"""The line a terminal shows every few seconds while a run goes on."""

from __future__ import annotations

from metrics.progress import Progress
from reports import units


def progress_line(progress: Progress) -> str:
    """One line without a line end; fields keep their place from line to line as long as the numbers allow."""
    users = f"{units.count(progress.users)}/{units.count(progress.users_target)}"
    return "  ".join(
        (
            f"{units.clock(progress.elapsed_s):>5}",
            f"stage {progress.stage_index + 1}/{progress.stages}",
            f"{users:>7} users",
            f"system prompt {progress.system_prompt:<3}",
            f"{progress.phase:<6}",
            f"{units.rate(progress.tokens_per_s):>6} tokens/s",
            f"TTFT p50 {units.duration(progress.ttft_p50_s):>7}",
            f"{units.count(progress.in_flight):>3} in flight",
            units.counted(progress.failures, "failure"),
        )
    )

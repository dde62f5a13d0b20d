"""What a worker found when it measured itself, as a line."""

from __future__ import annotations

from tokenswarm.metrics.client_health import ErrorSpread, SelfCheck
from tokenswarm.reports import units


def self_check_line(worker: int, check: SelfCheck) -> str:
    """One line without a line end."""
    errors = [f"TTFT error {_spread(check.ttft_error_s)}"]
    if check.gap_error_s is not None:
        errors.append(f"gap error {_spread(check.gap_error_s)}")
    load = f"{units.counted(check.users, 'user')}, {units.counted(check.answers, 'answer')}"
    return f"Self-check of worker {worker}, before the run ({load}): {'; '.join(errors)}"


def _spread(error_s: ErrorSpread) -> str:
    text = {"p50": error_s.p50, "p99": error_s.p99, "max": error_s.max}
    return ", ".join(f"{name} {units.duration(seconds)}" for name, seconds in text.items())

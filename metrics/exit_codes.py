"""Exit codes of our own; the others are Locust's (1: requests failed, 2: an exception outside of a request)."""

from __future__ import annotations

EXIT_UNUSABLE = 2
EXIT_NOT_TO_BE_BELIEVED = 3
EXIT_INTERRUPTED = 4
EXIT_CONDITION_BROKEN = 5
INTERRUPTED_EARLY = "tokenswarm: interrupted before the run began"

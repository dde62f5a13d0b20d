"""The Retry-After header of a response (RFC 9110, section 10.2.3): seconds, or a date.

users/chat.py has the user wait for so long; docs/load.md says what else a 429 or 503 means for a run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

#: Statuses with which servers refuse requests above a limit.
LIMIT_STATUSES = (429, 503)
#: A server that names a longer time is down rather than busy.
_MOST_S = 3600.0
_SECONDS = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII)


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """How long to wait, in seconds, an hour at most; None without such a header, or with one that cannot be read.
    headers: by lower-case name; now: by default the present time."""
    text = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), _MOST_S)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return min(max(0.0, (until - (now or datetime.now(UTC))).total_seconds()), _MOST_S)

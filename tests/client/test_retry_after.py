"""How long a server asks to wait."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tokenswarm.client.retry_after import retry_after_s

NOW = datetime(2026, 11, 29, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("0.5", 0.5),
        ("86400", 3600.0),
        ("Sun, 29 Nov 2026 12:00:30 GMT", 30.0),
        ("Sun, 29 Nov 2026 11:00:00 GMT", 0.0),
        ("Mon, 30 Nov 2026 12:00:00 GMT", 3600.0),
        ("soon", None),
        ("-3", None),
        ("", None),
        ("9" * 40, None),
    ],
)
def test_seconds_or_a_date(text: str, seconds: float | None) -> None:
    assert retry_after_s({"retry-after": text}, NOW) == seconds


def test_without_the_header_there_is_no_wait() -> None:
    assert retry_after_s({"content-type": "text/plain"}, NOW) is None

"""A tap of the test's own; where this process may not have one, the test is skipped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tokenswarm.wire.tap.packet_tap import PacketTap, tap_refusal


@pytest.fixture
def tap() -> Iterator[PacketTap]:
    if reason := tap_refusal():
        pytest.skip(f"a packet tap needs Linux and the capability CAP_NET_RAW: {reason}")
    one = PacketTap()
    yield one
    one.close()

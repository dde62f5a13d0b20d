"""Every stream is read three ways: whole, byte by byte, and cut at every offset."""

from collections.abc import Callable
from typing import TypeVar

import pytest

Result = TypeVar("Result")


def _three_ways(data: bytes, read: Callable[[list[bytes]], Result]) -> Result:
    """What `read` makes of the bytes, which must not depend on how they were cut."""
    whole = read([data])
    assert read([data[at : at + 1] for at in range(len(data))]) == whole, "read byte by byte"
    for cut in range(len(data) + 1):
        assert read([data[:cut], data[cut:]]) == whole, f"cut after {data[:cut]!r}"
    return whole


@pytest.fixture(scope="session")
def three_ways() -> Callable[..., object]:
    return _three_ways

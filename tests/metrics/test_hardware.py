"""What is stated of the server's GPUs."""

from __future__ import annotations

import pytest

from tokenswarm.metrics.hardware import Hardware, HardwareError, hardware_of, parse_hardware


def test_nothing_stated_is_no_hardware() -> None:
    assert parse_hardware("", "", " ") is None
    assert hardware_of({"levels": "10"}) is None


def test_what_is_stated_is_kept() -> None:
    assert parse_hardware("8", " H100 ", "2.5") == Hardware(8, "H100", 2.5)
    assert hardware_of({"gpus": "2", "gpu_name": "", "gpu_price": ""}) == Hardware(2)
    assert Hardware(8, "H100", 2.5).usd_per_hour == 20.0


@pytest.mark.parametrize(
    ("stated", "option"),
    [
        (("0", "", ""), "--gpus"),
        (("two", "", ""), "--gpus"),
        (("1.5", "", ""), "--gpus"),
        (("8", "", "free"), "--gpu-price"),
        (("8", "", "-1"), "--gpu-price"),
        (("8", "", "inf"), "--gpu-price"),
        (("", "H100", ""), "--gpu-name"),
        (("", "", "2.5"), "--gpu-price"),
    ],
)
def test_what_cannot_be_used_is_refused(stated: tuple[str, str, str], option: str) -> None:
    with pytest.raises(HardwareError, match=option):
        parse_hardware(*stated)

"""The options of measurement: --token-times and --stamps."""

from __future__ import annotations

from enum import StrEnum

from tokenswarm.command_line import OptionAdder


class TokenTimes(StrEnum):
    """Whose gaps are measured: every stream's, every tenth stream's, nobody's."""

    ALL = "all"
    SAMPLED = "sampled"
    ENDS = "ends"


class Stamps(StrEnum):
    """Whose receive times arrivals have: the kernel's where it gives any, or those of the reads."""

    KERNEL = "kernel"
    USER = "user"


def add_measurement_options(option: OptionAdder) -> None:
    """Add the options to Locust's parser."""
    option.choice(
        "--token-times",
        TokenTimes,
        TokenTimes.ALL,
        "the streams in which the gaps between tokens are measured: all, one in ten (sampled), or none (ends). TTFT "
        "and the end are measured in all; sampled and ends take less CPU time",
    )
    option.choice(
        "--stamps",
        Stamps,
        Stamps.KERNEL,
        "timestamp source: kernel (SO_TIMESTAMPNS, where available) or user space",
    )

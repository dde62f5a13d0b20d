"""The options of measurement: --token-times and --stamps."""

from __future__ import annotations

from enum import StrEnum

from tokenswarm.client.option_values import OptionError
from tokenswarm.command_line import OptionAdder
from tokenswarm.wire import PACKET_TAP, PacketTap, tap_refusal


class TokenTimes(StrEnum):
    """Whose gaps are measured: every stream's, every tenth stream's, nobody's."""

    ALL = "all"
    SAMPLED = "sampled"
    ENDS = "ends"


class Stamps(StrEnum):
    """Which receive times arrivals have: the best that the process may have without harm, the kernel's of each segment
    by a packet tap, the kernel's of each read where it gives any, or those of the reads."""

    AUTO = "auto"
    TAP = "tap"
    KERNEL = "kernel"
    USER = "user"


#: So many processes of a machine have taps with `auto`: the filter of each looks at each packet of the machine, half a
#: microsecond of the kernel's time.
MOST_TAPS = 4


def add_measurement_options(option: OptionAdder) -> None:
    """Add the options to Locust's parser."""
    option.choice(
        "--token-times",
        TokenTimes,
        TokenTimes.ALL,
        "the streams in which the gaps between tokens are measured: all, one in ten (sampled), or none (ends). TTFT "
        "and the end are measured in all. sampled and ends take less CPU time, except where reading less often would "
        "change how the server sends (docs/accuracy.md#acknowledgements)",
    )
    option.choice(
        "--stamps",
        Stamps,
        Stamps.AUTO,
        "timestamp source: kernel (SO_TIMESTAMPNS, where available); tap (a packet tap: the kernel's time of each "
        "segment, also where a late client reads several at once; Linux, needs CAP_NET_RAW); user (user space: when "
        "this program reads, as other clients do; a run whose event loop was late is then marked suspect); auto: "
        f"tap where it is permitted and up to {MOST_TAPS} processes of this machine send the load, else kernel "
        "(docs/accuracy.md)",
    )


def stamps_in_use(stamps: Stamps, processes: int) -> Stamps:
    """The source that this process uses. processes: how many of this machine send the load, 0 where that is not
    known."""
    if stamps is not Stamps.AUTO:
        return stamps
    return Stamps.TAP if 0 < processes <= MOST_TAPS and tap_refusal() is None else Stamps.KERNEL


#: As the log says it.
STAMP_SOURCES = {
    Stamps.TAP: "the kernel's receive time of each segment (packet tap)",
    Stamps.KERNEL: "the kernel's receive time of each read (SO_TIMESTAMPNS)",
    Stamps.USER: "the time at which this program read it (--stamps user)",
}


def tap_of(stamps: Stamps, processes: int) -> PacketTap | None:
    """This process's packet tap for a source in use, None where that is another. processes: as for stamps_in_use.
    Raises OptionError where the process may not have a tap."""
    if stamps is not Stamps.TAP:
        return None
    check_stamps(stamps)
    if processes != 1:
        PACKET_TAP.share_machine()
    return PACKET_TAP


def check_stamps(stamps: Stamps) -> None:
    """Raises OptionError where --stamps is tap and this process may not have one."""
    if stamps is Stamps.TAP and (reason := tap_refusal()):
        raise OptionError(
            f"--stamps tap needs Linux and the capability CAP_NET_RAW, and there is no packet socket for this process "
            f"({reason}): run it as root, give its container the capability NET_RAW, or leave --stamps "
            "out."
        )

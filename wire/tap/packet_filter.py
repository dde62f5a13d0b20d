"""The kernel's filter of a tap (classic BPF): which packets get into its ring, and how many bytes of each.

The instructions are those of linux/bpf_common.h.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from tokenswarm.wire.tap.headers import FIN, RST, SYN, TCP, HeaderLayout
from tokenswarm.wire.tap.own_ports import MOST_RANGES, PortRange

LOAD_HALF, LOAD_BYTE = 0x28, 0x30
AND, SHIFT_RIGHT, ADD, TO_X = 0x54, 0x74, 0x04, 0x07
JUMP_IF_EQUAL, JUMP_IF_SET, JUMP_IF_ABOVE_X = 0x15, 0x45, 0x2D
JUMP_IF_ABOVE, JUMP_IF_AT_LEAST = 0x25, 0x35
RETURN = 0x06
#: More ports than this, with the ranges of local ones, would not fit into the distance of a jump.
MOST_PORTS = 64
_FRAGMENT_BITS = 0x3FFF  # more fragments follow, or this is not the first
_INSTRUCTION = struct.Struct("=HBBI")
_TAKE, _REJECT, _FROM_SERVER, _TO_US = "take", "reject", "from server", "to us"


class Instruction(NamedTuple):
    """One step. if_true, if_false: the labels to go on at, "" for the next step."""

    code: int
    operand: int = 0
    if_true: str = ""
    if_false: str = ""
    label: str = ""


def program(layout: HeaderLayout, ports: Sequence[int], local_ports: Sequence[PortRange] = ()) -> bytes:
    """Takes the headers of whole TCP packets from these ports, to these local ones (any, where there are none), that
    carry data, or begin or end a connection."""
    if not 0 < len(ports) <= MOST_PORTS:
        raise ValueError(f"a filter takes 1 to {MOST_PORTS} ports, got {len(ports)}")
    if len(local_ports) > MOST_RANGES:
        raise ValueError(f"a filter takes up to {MOST_RANGES} ranges of local ports, got {len(local_ports)}")
    return _assemble(
        [
            Instruction(LOAD_BYTE, 0),
            Instruction(AND, layout.first_mask),
            Instruction(JUMP_IF_EQUAL, layout.first_byte, if_false=_REJECT),
            Instruction(LOAD_BYTE, layout.protocol_at),
            Instruction(JUMP_IF_EQUAL, TCP, if_false=_REJECT),
            *_whole_packets(layout),
            Instruction(LOAD_HALF, layout.tcp_at),
            *(Instruction(JUMP_IF_EQUAL, port, if_true=_FROM_SERVER) for port in ports),
            Instruction(RETURN, 0),
            Instruction(LOAD_HALF, layout.tcp_at + 2, label=_FROM_SERVER),
            *_to_one_of(local_ports),
            Instruction(LOAD_BYTE, layout.flags_at, label=_TO_US),
            Instruction(JUMP_IF_SET, SYN | FIN | RST, if_true=_TAKE),
            Instruction(LOAD_BYTE, layout.data_offset_at),
            Instruction(AND, 0xF0),
            Instruction(SHIFT_RIGHT, 2),
            Instruction(ADD, layout.tcp_at - layout.uncounted_bytes),
            Instruction(TO_X),
            Instruction(LOAD_HALF, layout.length_at),
            Instruction(JUMP_IF_EQUAL, 0, if_true=_TAKE),
            Instruction(JUMP_IF_ABOVE_X, if_true=_TAKE, if_false=_REJECT),
            Instruction(RETURN, layout.kept_bytes, label=_TAKE),
            Instruction(RETURN, 0, label=_REJECT),
        ]
    )


def _whole_packets(layout: HeaderLayout) -> list[Instruction]:
    if layout.fragment_at is None:
        return []
    return [
        Instruction(LOAD_HALF, layout.fragment_at),
        Instruction(JUMP_IF_SET, _FRAGMENT_BITS, if_true=_REJECT),
    ]


def _to_one_of(ranges: Sequence[PortRange]) -> list[Instruction]:
    steps: list[Instruction] = []
    for number, ports in enumerate(ranges):
        following = _range_label(number + 1) if number + 1 < len(ranges) else _REJECT
        steps += (
            Instruction(JUMP_IF_AT_LEAST, ports.first, if_false=following, label=_range_label(number)),
            Instruction(JUMP_IF_ABOVE, ports.last, if_true=following, if_false=_TO_US),
        )
    return steps


def _range_label(number: int) -> str:
    return f"range {number}"


def _assemble(steps: Sequence[Instruction]) -> bytes:
    places = {step.label: place for place, step in enumerate(steps) if step.label}

    def distance(label: str, place: int) -> int:
        return places[label] - place - 1 if label else 0

    return b"".join(
        _INSTRUCTION.pack(step.code, distance(step.if_true, place), distance(step.if_false, place), step.operand)
        for place, step in enumerate(steps)
    )

"""Draws docs/closed-loop.svg and docs/open-loop.svg: what each kind of load does while a server stalls.

python -m tests.draw_load
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).resolve().parent.parent / "docs"

#: The server answers within a second; nothing is answered while it stalls.
ANSWER_S, LENGTH_S = 1.0, 14.0
STALL_S = (4.0, 8.0)
USERS = 3
GAP_S = ANSWER_S / USERS

_PX_PER_S, _ROW_PX, _BAR_PX = 44, 13, 9
_LEFT_PX, _TOP_PX, _BOTTOM_PX = 16, 42, 40
TEXT, BAR, LATE, STALL = "#4b5563", "#2563eb", "#d97706", "#9ca3af"
FONT = "font-family='sans-serif' font-size='13'"


class DrawnRequest(NamedTuple):
    """A request in flight from one second to another. row: where it is drawn."""

    row: int
    sent_s: float
    ended_s: float

    @property
    def is_late(self) -> bool:
        return self.ended_s - self.sent_s > ANSWER_S + 1e-9


def ended_s(sent_s: float) -> float:
    """When a request is answered: the part of its second that lies in the stall comes after it."""
    began_s, over_s = STALL_S
    if sent_s >= over_s or sent_s + ANSWER_S <= began_s:
        return sent_s + ANSWER_S
    return over_s + ANSWER_S - max(0.0, began_s - sent_s)


def closed_loop() -> list[DrawnRequest]:
    """Users that send their next request when the last one has ended."""
    requests = []
    for user in range(USERS):
        sent_s = user * GAP_S
        while sent_s < LENGTH_S:
            requests.append(DrawnRequest(user, sent_s, ended_s(sent_s)))
            sent_s = requests[-1].ended_s
    return requests


def open_loop() -> list[DrawnRequest]:
    """Requests at even distances, each in the first free row."""
    requests: list[DrawnRequest] = []
    free_s: list[float] = []
    for number in range(round(LENGTH_S / GAP_S)):
        sent_s = number * GAP_S
        row = next((row for row, since_s in enumerate(free_s) if since_s <= sent_s + 1e-9), len(free_s))
        requests.append(DrawnRequest(row, sent_s, ended_s(sent_s)))
        free_s[row : row + 1] = [requests[-1].ended_s + 0.05]
    return requests


def svg(title: str, requests: Sequence[DrawnRequest]) -> str:
    """The picture of one load."""
    rows = max(request.row for request in requests) + 1
    width, height = _LEFT_PX * 2 + round(LENGTH_S * _PX_PER_S), _TOP_PX + rows * _ROW_PX + _BOTTOM_PX
    lines = [
        *opening(title, width, height),
        *_background(height),
        *(_bar(request) for request in requests),
        *_legend(requests, height),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def opening(title: str, width: float, height: float) -> Iterator[str]:
    """The beginning of a picture, on white: it stands on light and on dark pages."""
    box = f"viewBox='0 0 {width:g} {height:g}' role='img' aria-label='{title}'"
    yield f"<svg xmlns='http://www.w3.org/2000/svg' {box}>"
    yield f"<rect width='{width:g}' height='{height:g}' rx='6' fill='#fff'/>"
    yield f"<text x='{_LEFT_PX}' y='18' {FONT} font-weight='bold' fill='{TEXT}'>{title}</text>"


def _background(height: int) -> Iterator[str]:
    left, right = map(_x, STALL_S)
    bottom = height - _BOTTOM_PX
    place = f"x='{left:g}' y='{_TOP_PX - 14}' width='{right - left:g}' height='{bottom - _TOP_PX + 14}'"
    yield f"<rect {place} fill='{STALL}' opacity='.3'/>"
    yield f"<text x='{left + 4:g}' y='{_TOP_PX - 4}' {FONT} fill='{TEXT}'>the server stalls</text>"
    yield f"<path d='M{_x(0):g} {bottom}H{_x(LENGTH_S):g}' stroke='{TEXT}'/>"
    for second in count(0, 2):
        if second > LENGTH_S:
            return
        place = f"x='{_x(second):g}' y='{bottom + 15}' text-anchor='middle'"
        yield f"<text {place} {FONT} fill='{TEXT}'>{second} s</text>"


def _bar(request: DrawnRequest) -> str:
    left, right = _x(request.sent_s), _x(min(request.ended_s, LENGTH_S))
    y = _TOP_PX + request.row * _ROW_PX + (_ROW_PX - _BAR_PX) / 2
    colour = LATE if request.is_late else BAR
    return f"<rect x='{left:.1f}' y='{y:g}' width='{right - left - 2:.1f}' height='{_BAR_PX}' rx='2' fill='{colour}'/>"


def _legend(requests: Sequence[DrawnRequest], height: int) -> Iterator[str]:
    late = sum(request.is_late for request in requests)
    text = f"{len(requests)} requests sent; {late} of them waited for the stall to end (orange)"
    yield f"<text x='{_LEFT_PX}' y='{height - 6}' {FONT} fill='{TEXT}'>{text}</text>"


def _x(time_s: float) -> float:
    return _LEFT_PX + time_s * _PX_PER_S


def pictures() -> dict[str, str]:
    """The text of each file by its name."""
    return {
        "closed-loop.svg": svg(f"Closed loop: {USERS} users, a row each", closed_loop()),
        "open-loop.svg": svg(f"Open loop: {1 / GAP_S:g} requests/s, a bar each", open_loop()),
    }


if __name__ == "__main__":
    for name, text in pictures().items():
        (DOCS / name).write_text(text, encoding="utf-8")

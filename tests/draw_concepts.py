"""Draws docs/images/level-phases.svg and docs/images/request-timeline.svg: a level and its requests, a request and its
tokens.

python -m tests.draw_concepts
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.draw_load import BAR, DOCS, FONT, LATE, STALL, TEXT, opening

IMAGES = DOCS / "images"

RAMP_S, HOLD_ENDS_S, DRAINED_S, NEXT_S = 3.0, 12.0, 14.0, 15.0
#: (sent, ended): requests of some of a level's users, a row each.
REQUESTS = (
    ((0.4, 2.2), (2.2, 4.6), (4.6, 6.9), (6.9, 9.0), (9.0, 11.2), (11.2, 13.1)),
    ((1.4, 3.6), (3.6, 5.7), (5.7, 8.3), (8.3, 10.6), (10.6, 13.0)),
    ((2.5, 4.9), (4.9, 7.0), (7.0, 9.6), (9.6, 11.7), (11.7, 13.8)),
)
#: Milliseconds after the request was sent at which its tokens arrive.
TOKENS_MS = (420.0, 470.0, 515.0, 570.0, 615.0, 720.0, 765.0, 815.0)

_WIDTH = 660
_LEFT = 16
_SMALL = "font-family='sans-serif' font-size='12'"


class Span(NamedTuple):
    """A stretch of time in a picture, in the units of its axis, with what is written at it."""

    begin: float
    end: float
    text: str


def level_phases() -> str:
    """The users of a level over its phases, and the requests of three of them."""
    top, high, rows_top, row = 48, 60, 138, 15
    height = rows_top + row * len(REQUESTS) + 62
    phases = (Span(0, RAMP_S, "ramp"), Span(RAMP_S, HOLD_ENDS_S, "hold"), Span(HOLD_ENDS_S, DRAINED_S, "drain"))
    lines = list(opening("The phases of a level: ramp, hold and drain", _WIDTH, height))
    for number, phase in enumerate((*phases, Span(DRAINED_S, NEXT_S, "settle"))):
        left, right = _at_s(phase.begin), _at_s(phase.end)
        if number % 2 == 1:
            size = f"width='{right - left:g}' height='{rows_top + row * len(REQUESTS) - top + 24:g}'"
            lines.append(f"<rect x='{left:g}' y='{top - 18}' {size} fill='{STALL}' opacity='.22'/>")
        place = f"x='{(left + right) / 2:g}' y='{top - 4}' text-anchor='middle'"
        lines.append(f"<text {place} {FONT} font-weight='bold' fill='{TEXT}'>{phase.text}</text>")
    points = ((0.0, 0), (RAMP_S, 1), (HOLD_ENDS_S, 1), (DRAINED_S, 0), (NEXT_S, 0))
    path = "L".join(f"{_at_s(second):g} {top + 10 + high * (1 - share):g}" for second, share in points)
    place = f"x='{_at_s(RAMP_S) + 8:g}' y='{top + 28}'"
    lines += [
        f"<path d='M{path}' fill='none' stroke='{BAR}' stroke-width='2.5'/>",
        f"<text {place} {_SMALL} fill='{TEXT}'>users: all are there in the hold</text>",
    ]
    for number, requests in enumerate(REQUESTS):
        lines += [_request(sent_s, ended_s, rows_top + row * number) for sent_s, ended_s in requests]
    below = rows_top + row * len(REQUESTS) + 22
    lines += _lines(
        below,
        "Latencies are of the requests that were sent in the hold (blue), to their end in the drain.",
        "Token rates are of the tokens that arrived in the hold, whichever request they are of.",
    )
    return "\n".join([*lines, "</svg>"]) + "\n"


def request_timeline() -> str:
    """A request and its tokens on a line of time, with what is measured between them."""
    line, height = 68, 196
    first, last = TOKENS_MS[0], TOKENS_MS[-1]
    tokens, before_stall = len(TOKENS_MS), TOKENS_MS[4]
    tpot_ms = (last - first) / (tokens - 1)
    lines = [
        *opening("A request: time to first token, gaps and end-to-end latency", _WIDTH, height),
        f"<path d='M{_LEFT} {line}H{_WIDTH - _LEFT}' stroke='{TEXT}'/>",
        f"<path d='M{_at_ms(0):g} {line - 14}V{line + 14}' stroke='{TEXT}' stroke-width='2'/>",
        f"<text x='{_at_ms(0):g}' y='{line - 22}' {_SMALL} fill='{TEXT}'>sent</text>",
        *(f"<circle cx='{_at_ms(token):g}' cy='{line}' r='6' fill='{BAR}'/>" for token in TOKENS_MS),
        *_label(first, line - 22, "first token"),
        *_label(last, line - 22, "last token"),
        *_bracket(Span(0, first, f"TTFT {first:g} ms"), line + 26),
        *_bracket(Span(before_stall, TOKENS_MS[5], f"gap {TOKENS_MS[5] - before_stall:g} ms"), line + 26, LATE),
        *_bracket(Span(0, last, f"E2E {last:g} ms"), line + 58),
        *_lines(
            height - 30,
            f"TPOT = (last − first) / (tokens − 1) = {last - first:g} ms / {tokens - 1} = {tpot_ms:.1f} ms",
            f"Token rate of this user = 1 / TPOT = {1000 / tpot_ms:.1f} tokens/s",
        ),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _request(sent_s: float, ended_s: float, top: float) -> str:
    colour = BAR if RAMP_S <= sent_s < HOLD_ENDS_S else STALL
    place = f"x='{_at_s(sent_s):.1f}' y='{top}' width='{_at_s(ended_s) - _at_s(sent_s) - 2:.1f}' height='10'"
    return f"<rect {place} rx='2' fill='{colour}'/>"


def _lines(top: float, *texts: str) -> Iterator[str]:
    for number, text in enumerate(texts):
        yield f"<text x='{_LEFT}' y='{top + 18 * number:g}' {_SMALL} fill='{TEXT}'>{text}</text>"


def _label(at_ms: float, y: float, text: str) -> Iterator[str]:
    yield f"<text x='{_at_ms(at_ms):g}' y='{y:g}' text-anchor='middle' {_SMALL} fill='{TEXT}'>{text}</text>"


def _bracket(span: Span, y: float, colour: str = TEXT) -> Sequence[str]:
    left, right = _at_ms(span.begin), _at_ms(span.end)
    ends = f"M{left:g} {y - 5:g}V{y + 5:g}M{left:g} {y:g}H{right:g}M{right:g} {y - 5:g}V{y + 5:g}"
    place = f"x='{(left + right) / 2:g}' y='{y + 17:g}' text-anchor='middle'"
    return (
        f"<path d='{ends}' stroke='{colour}' fill='none'/>",
        f"<text {place} {_SMALL} fill='{TEXT}'>{span.text}</text>",
    )


def _at_s(second: float) -> float:
    return _LEFT + second * (_WIDTH - 2 * _LEFT) / NEXT_S


def _at_ms(milliseconds: float) -> float:
    return _LEFT + 6 + milliseconds * 0.7


def pictures() -> dict[str, str]:
    """The text of each file by its name."""
    return {"level-phases.svg": level_phases(), "request-timeline.svg": request_timeline()}


if __name__ == "__main__":
    for name, text in pictures().items():
        (IMAGES / name).write_text(text, encoding="utf-8")

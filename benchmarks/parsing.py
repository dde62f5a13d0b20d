"""What it costs to read an event: the project's engines against sseclient-py, over the same bytes.

    python -m benchmarks.parsing

Two comparisons: finding the `data` of each event (`engines/sse.py` against sseclient-py alone), and getting at its text
(`engines/openai.py` on top, against sseclient-py and the standard library's json). Both take turns within one process,
and the fastest of several turns counts, so that the ratio holds where the times do not: they depend on the machine and
on what else it does.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from sseclient import SSEClient

from benchmarks.records import ReadingCost
from benchmarks.table import parsing_table
from tokenswarm.engines import ENGINES
from tokenswarm.engines.sse import EventSplitter
from tokenswarm.simulator.paced_answers import answer_events

EVENTS = 4000
TURNS = 5
EVENTS_A_READ = (1, 10, 100)


def reads(events: list[bytes], events_a_read: int) -> list[bytes]:
    """The bytes of the events as a socket might hand them over."""
    return [b"".join(events[at : at + events_a_read]) for at in range(0, len(events), events_a_read)]


def split_with_ours(pieces: list[bytes]) -> list[str]:
    splitter = EventSplitter()
    return [data.decode() for piece in pieces for data in splitter.feed(piece)]


def split_with_sseclient(pieces: list[bytes]) -> list[str]:
    return [event.data for event in SSEClient(iter(pieces)).events()]


def texts_with_ours(pieces: list[bytes]) -> list[str]:
    decoder = ENGINES["vllm"].decoder()
    return [delta.text for piece in pieces for delta in decoder.feed(piece) if delta.text]


def texts_with_sseclient(pieces: list[bytes]) -> list[str]:
    texts = []
    for event in SSEClient(iter(pieces)).events():
        if event.data == "[DONE]":
            continue
        choices = json.loads(event.data)["choices"]
        if choices and (text := choices[0]["delta"].get("content")):
            texts.append(text)
    return texts


def compare(events: int = EVENTS, turns: int = TURNS) -> list[ReadingCost]:
    """All comparisons, for an answer of that many events."""
    answer = answer_events(events)
    comparisons = []
    for what, ours, theirs in (
        ("finding the data", split_with_ours, split_with_sseclient),
        ("getting the text", texts_with_ours, texts_with_sseclient),
    ):
        for events_a_read in EVENTS_A_READ:
            pieces = reads(answer, events_a_read)
            times = [(_seconds(ours, pieces), _seconds(theirs, pieces)) for _ in range(turns)]
            ours_s, theirs_s = (min(column) for column in zip(*times, strict=True))
            scale = 1e6 / len(answer)
            comparisons.append(ReadingCost(what, events_a_read, ours_s * scale, theirs_s * scale))
    return comparisons


def _seconds(read: Callable[[list[bytes]], list[str]], pieces: list[bytes]) -> float:
    began_s = time.process_time()
    read(pieces)
    return time.process_time() - began_s


def main() -> None:
    print(parsing_table(compare()))


if __name__ == "__main__":
    main()

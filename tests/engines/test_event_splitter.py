"""Server-sent events from bytes, however the reads cut them."""

from codecs import BOM_UTF8
from collections.abc import Callable, Iterable
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sseclient import SSEClient

import tokenswarm.engines.sse
from tokenswarm.engines import StreamBroken
from tokenswarm.engines.sse import EventSplitter, read_any_event

Events = Callable[[bytes], list[str]]


@pytest.fixture
def events(three_ways: Callable[..., list[str]]) -> Events:
    """The data of every event, the same whichever way the bytes come."""

    def read(pieces: list[bytes]) -> list[str]:
        splitter = EventSplitter()
        return [event.decode() for piece in pieces for event in splitter.feed(piece)]

    return lambda data: three_ways(data, read)


@pytest.fixture
def breaks(three_ways: Callable[..., tuple[list[str], str]]) -> Callable[[bytes], tuple[list[str], str]]:
    """The events before the splitter gave up, and its words."""

    def read(pieces: list[bytes]) -> tuple[list[str], str]:
        splitter, seen = EventSplitter(), list[str]()
        events = chain.from_iterable(splitter.feed(piece) for piece in pieces)
        try:
            while True:
                seen.append(next(events).decode())
        except StreamBroken as broken:
            return seen, str(broken)

    return lambda data: three_ways(data, read)


# The four examples of https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation


def test_whatwg_example_1_three_data_lines_are_one_event_of_three_lines(events: Events) -> None:
    assert events(b"data: YHOO\ndata: +2\ndata: 10\n\n") == ["YHOO\n+2\n10"]


def test_whatwg_example_2_a_comment_two_ids_and_a_second_space_that_is_data(events: Events) -> None:
    stream = b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n"
    assert events(stream) == ["first event", "second event", " third event"]


def test_whatwg_example_3_empty_data_is_an_event_and_an_unfinished_block_is_none(events: Events) -> None:
    assert events(b"data\n\ndata\ndata\n\ndata:") == ["", "\n"]


def test_whatwg_example_4_the_space_after_the_colon_is_optional(events: Events) -> None:
    assert events(b"data:test\n\ndata: test\n\n") == ["test", "test"]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        pytest.param(b"data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"], id="crlf"),
        pytest.param(b"data: a\r\rdata: b\r\r", ["a", "b"], id="lone cr"),
        pytest.param(b"data: a\r\n\ndata: b\n\r\ndata: c\r\r\ndata: d\n\r", ["a", "b", "c", "d"], id="mixed"),
        pytest.param(b"data: a\rdata: b\ndata: c\r\n\r\n", ["a\nb\nc"], id="mixed inside one event"),
        pytest.param(b"\r\n\n\rdata: a\n\n\n\n\ndata: b\n\n", ["a", "b"], id="more blank lines than needed"),
    ],
)
def test_every_line_end_of_the_format_ends_a_line(events: Events, stream: bytes, expected: list[str]) -> None:
    assert events(stream) == expected


def test_crlf_cut_between_reads_is_one_line_end_not_a_blank_line() -> None:
    splitter = EventSplitter()
    assert list(splitter.feed(b"data: a\r")) == []
    assert list(splitter.feed(b"\ndata: b\r")) == []
    assert list(splitter.feed(b"\n\r")) == [b"a\nb"]
    assert list(splitter.feed(b"\ndata: c\n\n")) == [b"c"]


def test_a_cr_ends_its_event_at_once_without_waiting_for_a_possible_lf() -> None:
    assert list(EventSplitter().feed(b"data: a\r\r")) == [b"a"]


@pytest.mark.parametrize(
    "character", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1e"], ids=lambda text: f"U+{ord(text):04X}"
)
def test_unicode_line_separators_inside_text_are_text(events: Events, character: str) -> None:
    assert events(f"data: a{character}b\n\n".encode()) == [f"a{character}b"]


def test_a_character_of_several_bytes_may_be_cut_anywhere(events: Events) -> None:
    assert events("data: é€😀\n\n".encode()) == ["é€😀"]


def test_a_byte_order_mark_at_the_beginning_is_no_part_of_the_first_field(events: Events) -> None:
    assert events(b"\xef\xbb\xbfdata: a\n\ndata: \xef\xbb\xbfb\n\n") == ["a", "\ufeffb"]


def test_comments_and_pings_are_no_events(events: Events) -> None:
    assert events(b":\n\n: ping - 12:00\n\ndata: a\n: between\ndata: b\n\n:\n\n") == ["a\nb"]


def test_unknown_and_other_fields_are_no_data(events: Events) -> None:
    assert events(b"event: message\nretry: 10\nfoo: bar\nfoobar\ndata: a\nDATA: b\n\nevent: only\n\n") == ["a"]


def test_only_one_space_after_the_colon_is_dropped_and_trailing_spaces_stay(events: Events) -> None:
    assert events(b"data:  a:b \n\n") == [" a:b "]


def test_the_beginning_of_an_event_stays_pending() -> None:
    splitter = EventSplitter()
    assert list(splitter.feed(b"data: a\n\ndata: b\r\n")) == [b"a"]
    assert splitter.pending == b"data: b\n"


def test_bytes_that_are_no_utf_8_are_named_and_the_events_before_them_are_kept(
    breaks: Callable[[bytes], tuple[list[str], str]],
) -> None:
    assert breaks(b"data: a\n\ndata:\xc3(\n\n") == (["a"], r"an event is not UTF-8: b'data:\xc3('")


def test_an_endless_event_is_given_up_at_the_bound(
    breaks: Callable[[bytes], tuple[list[str], str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokenswarm.engines.sse.MAX_EVENT_BYTES", 40)
    assert breaks(b"data: a\n\ndata: " + 60 * b"x") == (["a"], "an event is longer than 40 bytes")


def test_an_event_as_long_as_the_bound_is_read(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenswarm.engines.sse.MAX_EVENT_BYTES", 40)
    assert events(b"data: " + 33 * b"x" + b"\n\n") == [33 * "x"]


@pytest.mark.slow
@given(st.text().filter(lambda text: "\n" not in text and "\r" not in text))
def test_the_plainest_event_reads_the_same_as_sseclient_reads_it(text: str) -> None:
    event = b"data: " + text.encode()
    assert list(EventSplitter().feed(event + b"\n\n")) == list(read_any_event(event)) == [text.encode()]


@pytest.mark.parametrize("around", [b"", b"\n", BOM_UTF8])
def test_the_longest_event_is_the_same_in_every_split(
    breaks: Callable[[bytes], tuple[list[str], str]], monkeypatch: pytest.MonkeyPatch, around: bytes
) -> None:
    monkeypatch.setattr("tokenswarm.engines.sse.MAX_EVENT_BYTES", 20)
    small = b"data: a\n\n" if around != BOM_UTF8 else b""
    allowed = 14 - len(around.strip(b"\n"))
    for length, broken in ((allowed, False), (allowed + 1, True)):
        seen, _ = breaks(small + around + b"data: " + b"x" * length + b"\n\n" + b"data: " + b"y" * 30)
        assert seen == ["a"] * bool(small) + ["x" * length] * (not broken)


lines = st.sampled_from(
    ["data", "data:", "data: a", "data:  b ", "data:ä", ": c", "id: 1", "event:x", "dat: 2", "data : 3", "  ", "\u2028"]
)


@given(st.lists(lines, min_size=1, max_size=8))
def test_a_large_event_reads_the_same_as_sseclient_reads_a_small_one(of: list[str]) -> None:
    event = "\n".join(of).encode()
    bound = tokenswarm.engines.sse._SMALL_EVENT_BYTES
    try:
        tokenswarm.engines.sse._SMALL_EVENT_BYTES = 0
        large = list(read_any_event(event))
    finally:
        tokenswarm.engines.sse._SMALL_EVENT_BYTES = bound
    assert large == list(read_any_event(event))


def test_no_event_of_many_lines_goes_to_the_reader_whose_time_grows_with_their_square(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handed: list[int] = []

    class Watched(SSEClient):  # type: ignore[misc]
        def __init__(self, source: Iterable[bytes]) -> None:
            pieces = list(source)
            handed.extend(map(len, pieces))
            super().__init__(iter(pieces))

    monkeypatch.setattr("tokenswarm.engines.sse.SSEClient", Watched)
    many = 40_000
    stream = b"data: x\n" * many + b"\n" + b": ping\n" * many + b"data: end\n\n"
    splitter = EventSplitter()
    read = [event for at in range(0, len(stream), 1000) for event in splitter.feed(stream[at : at + 1000])]
    assert read == [b"\n".join([b"x"] * many), b"end"]
    assert max(handed, default=0) < 20_000

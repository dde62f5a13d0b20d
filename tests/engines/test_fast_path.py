"""Events that are read by their likeness to one before them are what reading each one's JSON makes of them."""

import json
from codecs import BOM_UTF8

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenswarm.engines import Delta, StreamBroken
from tokenswarm.engines.fast_path import EventTemplate
from tokenswarm.engines.openai import OpenAIDecoder

ROLE = b'data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'


def event(*, ident: str = "c", spaced: bool = False, escaped: bool = False, **delta: object) -> bytes:
    chunk = {"id": ident, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    separators = (", ", ": ") if spaced else (",", ":")
    return b"data: " + json.dumps(chunk, separators=separators, ensure_ascii=escaped).encode() + b"\n\n"


def one_by_one(events: list[bytes]) -> list[Delta]:
    """Each by a decoder that has seen nothing but the role."""
    found = []
    for each in events:
        decoder = OpenAIDecoder()
        decoder.feed(ROLE)
        found += decoder.feed(each)
    return found


ODD_TEXTS = ["a", "index", "content", " the", "é", "蜂", '"', "\\", "\n", "", "}", "\x7f", "data: ", ",", ":", ",~"]
TEXTS = st.sampled_from(ODD_TEXTS) | st.text(max_size=4)
ORDINARY = st.builds(lambda text: event(content=text), TEXTS)
EVENTS = st.one_of(
    ORDINARY,
    ORDINARY,
    ORDINARY,
    st.builds(
        lambda text, escaped, spaced: event(content=text, escaped=escaped, spaced=spaced), TEXTS, *[st.booleans()] * 2
    ),
    st.builds(lambda text: event(reasoning=text), TEXTS),
    st.builds(lambda text, other: event(reasoning=text, reasoning_content=other), TEXTS, TEXTS),
    st.builds(lambda text, ident: event(content=text, ident=ident), TEXTS, TEXTS),
    st.builds(lambda text: event(content=text, reasoning="a"), TEXTS),
    st.just(b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'),
    st.just(b": a comment\n\n" + event(content="x")),
    st.just(b'data: {"choices":[{"index":0,"delta":{"content":"y"},"finish_reason":"stop"}]}\n\n'),
)


@pytest.mark.slow
@settings(max_examples=300)
@given(events=st.lists(EVENTS, max_size=12), together=st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_whatever_comes_is_read_as_each_event_by_itself(events: list[bytes], together: list[int]) -> None:
    """Whether an event is offered as one of a batch, by itself or in a piece with others, or fed with others
    behind it."""
    decoder, found = OpenAIDecoder(), []
    decoder.feed(ROLE)
    left, turn = events, 0
    while left:
        pieces, at = [], 0
        while at < len(left):
            size = together[(turn + len(pieces)) % len(together)]
            pieces.append(left[at : at + size])
            at += size
        batch = decoder.decode_batch([b"".join(piece) for piece in pieces])
        found += [Delta("", text.decode()) if batch.reasoning else Delta(text.decode()) for text in batch.texts]
        assert list(batch.of_each) == [len(piece) for piece in pieces[: len(batch.of_each)]]
        assert sum(batch.of_each) == len(batch.texts)
        more = together[turn % len(together)]
        left = left[len(batch.texts) :]
        found += decoder.feed(b"".join(left[:more]))
        left, turn = left[more:], turn + 1
    assert found == one_by_one(events)


def test_the_second_of_two_like_events_is_taken_and_an_odd_one_is_left() -> None:
    decoder = OpenAIDecoder()
    decoder.feed(ROLE)
    ordinary = [event(content=text) for text in ("Why", " is", " the", " sky")]
    assert decoder.decode_batch(ordinary) == ([], False, [])
    decoder.feed(ordinary[0])
    assert decoder.decode_batch([*ordinary[1:], event(reasoning="Hm"), event(content="blue")]) == (
        [b" is", b" the", b" sky"],
        False,
        [1, 1, 1],
    )


def test_a_first_output_that_comes_with_the_role_is_enough_to_know_the_next_ones() -> None:
    decoder = OpenAIDecoder()
    assert [delta.text for delta in decoder.feed(ROLE + event(content="The"))] == ["", "The"]
    assert decoder.decode_batch([event(content=" sky")]) == ([b" sky"], False, [1])


def test_nothing_is_known_from_a_stream_that_begins_with_a_byte_order_mark() -> None:
    decoder = OpenAIDecoder()
    assert [delta.text for delta in decoder.feed(BOM_UTF8 + event(content="The"))] == ["The"]
    assert decoder.decode_batch([event(content=" sky")]).texts == []
    assert [delta.text for delta in decoder.feed(event(content=" sky"))] == [" sky"]
    assert decoder.decode_batch([event(content=" is")]).texts == [b" is"]


def test_events_that_came_together_are_taken_with_how_many_there_were() -> None:
    decoder = OpenAIDecoder()
    decoder.feed(ROLE)
    decoder.feed(event(content="Why"))
    two, one = event(content=" is") + event(content=" the"), event(content=" sky")
    assert decoder.decode_batch([two, one]) == ([b" is", b" the", b" sky"], False, [2, 1])
    assert decoder.decode_batch([two, one, two + event(reasoning="Hm")]).of_each == [2, 1]
    assert decoder.decode_batch([two[:-5], two[-5:]]).of_each == []


def test_what_is_escaped_is_told_as_it_is_meant() -> None:
    decoder = OpenAIDecoder()
    decoder.feed(ROLE)
    decoder.feed(event(content="Why"))
    texts = [" sky", '"', "\n\n", "\\", "é", "蜂"]
    batch = decoder.decode_batch([event(content=text, escaped=True) for text in texts])
    assert [text.decode() for text in batch.texts] == texts
    for wrong in (b"\\", b"\\x", b"\\ud800", b'a","b":"\\n'):
        broken = event(content="b").replace(b'"b"', b'"%b"' % wrong)
        assert decoder.decode_batch([broken]).texts == []


def test_reasoning_is_told_as_reasoning() -> None:
    decoder = OpenAIDecoder()
    decoder.feed(ROLE + event(reasoning="Hm"))
    decoder.feed(event(reasoning="Hm"))
    assert decoder.decode_batch([event(reasoning=", so")]) == ([b", so"], True, [1])


def test_text_that_stands_elsewhere_too_is_not_taken_for_the_text() -> None:
    decoder = OpenAIDecoder()
    decoder.feed(ROLE)
    decoder.feed(event(ident="a", content="a"))  # the first "a" is the id
    assert decoder.decode_batch([event(ident="b", content="a")]) == ([], False, [])
    assert decoder.feed(event(ident="b", content="a")) == [Delta("a")]


def test_no_event_in_the_middle_of_another_is_taken() -> None:
    decoder = OpenAIDecoder()
    decoder.feed(ROLE + event(content="a"))
    decoder.feed(event(content="a"))
    decoder.feed(b"data: {")
    assert not decoder.decode_batch([event(content="b")]).texts


def test_bytes_that_are_no_text_break_the_stream_as_they_would_by_themselves() -> None:
    decoder = OpenAIDecoder()
    decoder.feed(ROLE)
    decoder.feed(event(content="a"))
    broken = event(content="b").replace(b'"b"', b'"\xff"')
    assert decoder.decode_batch([broken]) == ([], False, [])
    with pytest.raises(StreamBroken):
        decoder.feed(broken)


def test_a_stream_whose_events_match_no_template_is_not_read_twice_for_long() -> None:
    readings = 0

    def decode(data: bytes) -> Delta:
        nonlocal readings
        readings += 1
        return Delta(json.loads(data)["t"])

    template = EventTemplate(decode)
    for number in range(10):
        data = b'data: {"n":%d,"t":"x"}\n\n' % number
        assert template.read(data) is None
        template.learn(data, Delta("x"))
    assert readings == 3


def test_texts_that_are_escaped_do_not_make_it_forget_what_it_knows() -> None:
    decoder = OpenAIDecoder()
    decoder.feed(ROLE)
    decoder.feed(event(content="a"))
    for _ in range(5):
        decoder.feed(event(content="\n"))
    assert decoder.decode_batch([event(content="b")]) == ([b"b"], False, [1])

"""One HTTP/1.1 response from bytes: whole, byte by byte, and cut at every offset."""

from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenswarm.wire import ResponseParser, ServerBrokeProtocol


class ParsedResponse(NamedTuple):
    status: int
    body: bytes
    complete: bool
    keeps_alive: bool
    broken: str | None = None


def parsed_of(pieces: list[bytes], then_closed: bool = False) -> ParsedResponse:
    parser, body, broken = ResponseParser(), b"", None
    try:
        for piece in pieces:
            body += parser.feed(piece)
            if parser.broken is not None:
                raise parser.broken
        if then_closed:
            parser.end_of_connection()
    except ServerBrokeProtocol as error:
        broken = str(error)
    return ParsedResponse(parser.status, body, parser.complete, parser.keeps_alive, broken)


def feed_all(parser: ResponseParser, pieces: list[bytes]) -> None:
    for piece in pieces:
        parser.feed(piece)


def three_ways(data: bytes, then_closed: bool = False) -> ParsedResponse:
    whole = parsed_of([data], then_closed)
    assert parsed_of([data[at : at + 1] for at in range(len(data))], then_closed) == whole, "read byte by byte"
    for cut in range(len(data) + 1):
        assert parsed_of([data[:cut], data[cut:]], then_closed) == whole, f"cut after {data[:cut]!r}"
    return whole


LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n"
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nhello"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSING = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"


@pytest.mark.parametrize(
    ("response", "keeps_alive"),
    [
        pytest.param(LENGTH, True, id="content-length"),
        pytest.param(CHUNKED, True, id="chunked"),
        pytest.param(CLOSING, False, id="connection close"),
        pytest.param(CHUNKED.replace(b" chunked", b" Chunked\r\nconnection: Close"), False, id="chunked, then close"),
        pytest.param(LENGTH.replace(b"1.1", b"1.0"), False, id="HTTP/1.0"),
        pytest.param(LENGTH.replace(b"1.1 200 OK", b"1.0 200 OK\r\nConnection: keep-alive"), True, id="HTTP/1.0 kept"),
    ],
)
def test_a_framed_body_ends_by_itself_and_says_whether_another_request_may_follow(
    response: bytes, keeps_alive: bool
) -> None:
    assert three_ways(response) == ParsedResponse(200, b"hello", True, keeps_alive)


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_is_complete_with_its_head(status: int) -> None:
    assert three_ways(b"HTTP/1.1 %d None\r\n\r\n" % status) == ParsedResponse(status, b"", True, True)


def test_a_body_without_a_length_is_complete_when_the_server_closes() -> None:
    assert three_ways(UNTIL_CLOSE) == ParsedResponse(200, b"hello", False, False)
    assert three_ways(UNTIL_CLOSE, then_closed=True) == ParsedResponse(200, b"hello", True, False)


@pytest.mark.parametrize(
    "informational",
    [INTERIM, b"HTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\nLink: </a>\r\n\r\n" * 2],
)
def test_what_comes_before_the_response_proper_is_not_the_response(informational: bytes) -> None:
    assert three_ways(informational + LENGTH) == ParsedResponse(200, b"hello", True, True)
    parser = ResponseParser()
    parser.feed(informational)
    assert (parser.status, parser.headers, parser.head_complete, parser.complete) == (0, {}, False, False)


@pytest.mark.parametrize("behind", [b"garbage", LENGTH, b"HTTP/1.1 408 Timeout\r\nContent-Length: 3\r\n\r\nbye"])
@pytest.mark.parametrize("response", [LENGTH, CHUNKED, CLOSING])
def test_bytes_behind_the_response_spoil_the_connection_but_not_the_response(response: bytes, behind: bytes) -> None:
    assert three_ways(response + behind) == ParsedResponse(200, b"hello", True, False)


def test_header_names_are_lower_case_and_the_last_value_of_a_name_stands() -> None:
    parser = ResponseParser()
    parser.feed(b"HTTP/1.1 429 Too Many\r\nRETRY-After: 5\r\nX-A: 1\r\nx-a:  caf\xe9\r\nEmpty:\r\n\r\n")
    assert parser.headers == {"retry-after": "5", "x-a": "café", "empty": ""}


def test_a_trailer_is_no_header() -> None:
    parser = ResponseParser()
    parser.feed(CHUNKED.removesuffix(b"\r\n") + b"Content-Type: text/html\r\n\r\n")
    assert parser.complete
    assert parser.headers == {"transfer-encoding": "chunked"}


@pytest.mark.parametrize(
    ("response", "sentence"),
    [
        pytest.param(b"", "the connection ended before the response's head was complete", id="nothing"),
        pytest.param(LENGTH[:30], "the connection ended before the response's head was complete", id="in the head"),
        pytest.param(LENGTH[:-1], "the connection ended inside the response's body", id="in a body of known length"),
        pytest.param(CHUNKED[:-2], "the connection ended inside the response's body", id="before the last chunk's end"),
        pytest.param(CHUNKED[:60], "the connection ended inside the response's body", id="in a chunk"),
        pytest.param(INTERIM, "the connection ended before the response's head was complete", id="behind a 100"),
    ],
)
def test_a_close_before_the_promised_end_is_the_servers_fault(response: bytes, sentence: str) -> None:
    parsed = three_ways(response, then_closed=True)
    assert (parsed.broken, parsed.complete, parsed.keeps_alive) == (sentence, False, False)


def test_a_close_behind_the_promised_end_is_nobodys_fault() -> None:
    assert three_ways(LENGTH, then_closed=True) == ParsedResponse(200, b"hello", True, True)


@pytest.mark.parametrize(
    ("response", "quoted"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", b"SSH-2.0-OpenSSH_9.6\r\n"),
        (b"hello", b"hello"),
        (b"\x15\x03\x01\x00\x02\x02", b"\x15\x03\x01\x00\x02\x02"),
        (b"HTTP/2 200\r\n\r\n", b"HTTP/2 200\r\n"),
        (b"{}", b"{}"),
        (b"x" * 100, b"x" * 40),
    ],
)
def test_what_is_not_http_is_named_and_its_first_line_quoted(response: bytes, quoted: bytes) -> None:
    parsed = three_ways(response, then_closed=True)
    assert parsed.broken is not None
    assert parsed.broken.startswith("the response is not HTTP/1.1: ")
    assert parsed.broken.endswith(f" (it begins {quoted!r})")


@pytest.mark.parametrize("framing", [b"zz\r\n", b"5\r\nworldX"])
def test_body_bytes_before_broken_framing_are_kept(framing: bytes) -> None:
    parsed = three_ways(CHUNKED_HEAD + b"5\r\nhello\r\n" + framing, then_closed=True)
    assert parsed.broken is not None
    assert parsed.broken.startswith("the response is not HTTP/1.1: ")
    assert parsed.body == (b"hello" if framing.startswith(b"zz") else b"helloworld")
    assert not parsed.complete


def test_a_chunk_without_a_size_is_not_http() -> None:
    parsed = three_ways(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    assert parsed.broken == "the response is not HTTP/1.1: Invalid character in chunk size"


@pytest.mark.slow
def test_a_head_is_bounded_the_same_however_it_is_split() -> None:
    """The bound is on the head alone, and exact."""
    for length, broken in ((65_536, None), (65_537, "the response's head is longer than 65536 bytes")):
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Long: "
        head += b"a" * (length - len(head) - 4) + b"\r\n\r\n"
        for size in (1, 1000, 40_000, len(head) + 5):
            whole = head + b"hello"
            seen = parsed_of([whole[at : at + size] for at in range(0, len(whole), size)])
            assert seen.broken == broken, size
            assert seen.body == (b"" if broken else b"hello")


def test_a_change_of_protocol_is_the_servers_fault() -> None:
    parsed = three_ways(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
    assert parsed.broken == "the server switched to another protocol (status 101)"


@pytest.mark.parametrize("size", [1, 100, 65536])
def test_a_head_longer_than_64_kib_is_given_up_whatever_the_size_of_the_reads(size: int) -> None:
    parser = ResponseParser()
    parser.feed(b"HTTP/1.1 200 OK\r\nX-Long: ")
    with pytest.raises(ServerBrokeProtocol, match="the response's head is longer than 65536 bytes"):
        feed_all(parser, [b"a" * size] * (70_000 // size + 1))


def test_a_head_that_never_ends_its_interim_responses_is_given_up_too() -> None:
    parser = ResponseParser()
    with pytest.raises(ServerBrokeProtocol, match="head is longer"):
        feed_all(parser, [INTERIM] * (70_000 // len(INTERIM) + 1))


def test_a_long_body_in_the_packet_of_the_head_does_not_count_as_head() -> None:
    parser = ResponseParser()
    assert len(parser.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000)) == 100_000
    assert parser.complete


CHUNKS = st.lists(st.binary(min_size=1, max_size=40) | st.sampled_from([b"\r\n", b"5\r\nhello\r\n"]), max_size=8)


@st.composite
def cut_where_chunks_end_and_elsewhere(draw: st.DrawFn) -> tuple[list[bytes], bytes]:
    """(reads, body) of a chunked response."""
    chunks = draw(CHUNKS)
    framed = [(b"%X\r\n%b\r\n" if draw(st.booleans()) else b"%x\r\n%b\r\n") % (len(each), each) for each in chunks]
    whole = b"".join(framed) + b"0\r\n\r\n"
    ends = {sum(map(len, framed[:count])) for count in range(1, len(framed) + 1)}
    places = sorted(place for place in ends ^ draw(st.sets(st.integers(1, len(whole) - 1), max_size=6)) if place)
    reads = [whole[begin:end] for begin, end in zip([0, *places], [*places, len(whole)], strict=True)]
    return [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *reads], b"".join(chunks)


@pytest.mark.slow
@settings(max_examples=300)
@given(response=cut_where_chunks_end_and_elsewhere(), data=st.data())
def test_whole_chunks_that_are_not_fed_make_no_difference(
    response: tuple[list[bytes], bytes], data: st.DataObject
) -> None:
    reads, body = response
    parser, found = ResponseParser(), b""
    while reads:
        chunks = parser.whole_chunks(reads)
        used = data.draw(st.integers(0, len(chunks)))
        found += b"".join(chunks[:used])
        del reads[:used]
        if reads:
            found += parser.feed(reads.pop(0))
    assert (found, parser.complete) == (body, True)


def test_reads_that_are_whole_chunks_are_known_behind_one_that_ended_with_a_line_and_its_chunk() -> None:
    parser = ResponseParser()
    one, other = b"5\r\nhel\n\n\r\n", b"4\r\nlo\n\n\r\n"
    assert parser.whole_chunks([CHUNKED_HEAD + one]) == []
    parser.feed(CHUNKED_HEAD)
    assert parser.whole_chunks([one]) == []
    parser.feed(one)
    assert parser.whole_chunks([one, other]) == [b"hel\n\n", b"lo\n\n"]
    assert parser.whole_chunks([one + other, other]) == [b"hel\n\nlo\n\n", b"lo\n\n"]
    assert parser.whole_chunks([one, b"4;x=y\r\nlo\n\n\r\n", one]) == [b"hel\n\n"]
    assert parser.whole_chunks([one, other[:3], other[3:]]) == [b"hel\n\n"]
    assert parser.whole_chunks([one, one + other[:3], other[3:] + one + one]) == [b"hel\n\n"]
    assert parser.whole_chunks([b"0\r\n\r\n"]) == []


@pytest.mark.parametrize(
    "fed",
    [
        pytest.param(b"20\r\n5\r\nhel\n\n\r\n", id="within a chunk"),
        pytest.param(b"2\r\n\n\n\r\n5\r\n", id="behind a size"),
        pytest.param(b"2\r\n\n8\r\n8\r\n", id="behind a size that the body ended with too"),
        pytest.param(b"2\r\n\n\n\r\n5", id="within a size"),
        pytest.param(b"2\r\n\n\n", id="before a chunk's last line end"),
    ],
)
def test_where_no_chunk_begins_nothing_is_taken_for_one(fed: bytes) -> None:
    parser = ResponseParser()
    parser.feed(CHUNKED_HEAD + fed)
    assert parser.whole_chunks([b"5\r\nhel\n\n\r\n"]) == []


LAX_CHUNK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("response", "deviations"),
    [
        pytest.param(
            CHUNKED.replace(b"\r\n\r\n3", b"\r\nContent-Length: 7\r\n\r\n3"), {"length_and_chunked"}, id="both"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            {"length_and_chunked"},
            id="a length of nothing first",
        ),
        pytest.param(LAX_CHUNK + b"5 \r\nhello\r\n0\r\n\r\n", {"space_after_chunk_size"}, id="a space"),
        pytest.param(LAX_CHUNK + b"5\t \r\nhello\r\n0  \r\n\r\n", {"space_after_chunk_size"}, id="a tab and a space"),
        pytest.param(
            LAX_CHUNK + b"005 ;x=y\r\nhello\r\n0\r\n\r\n", {"space_after_chunk_size"}, id="before an extension"
        ),
        pytest.param(LENGTH.replace(b"\r\nC", b"\r\nX-A: a\r\n b\r\nC"), {"folded_header"}, id="a folded header"),
        pytest.param(
            LENGTH.replace(b": 5", b": 5\r\nX-A: a\r\n\tb\r\n  c"), {"folded_header"}, id="folded twice, at the end"
        ),
        pytest.param(INTERIM + LENGTH.replace(b": 5", b": 5\r\nX-A: a\r\n b"), {"folded_header"}, id="behind a 100"),
        pytest.param(LENGTH, set(), id="nothing lax"),
        pytest.param(CHUNKED, set(), id="an extension"),
        pytest.param(LENGTH.replace(b"hello", b"a\n b!"), set(), id="a body that looks folded"),
        pytest.param(LENGTH.replace(b"\r\n", b"\n"), set(), id="bare line feeds"),
    ],
)
def test_lax_but_unambiguous_framing_is_read_and_named(response: bytes, deviations: set[str]) -> None:
    assert three_ways(response)._replace(body=b"hello") == ParsedResponse(200, b"hello", True, True)
    for pieces in ([response], [response[at : at + 1] for at in range(len(response))]):
        parser = ResponseParser()
        feed_all(parser, pieces)
        assert parser.deviations == deviations

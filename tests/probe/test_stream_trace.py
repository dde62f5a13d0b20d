"""One answer told in full, against a server whose every step the test takes."""

from __future__ import annotations

from collections.abc import Callable

import gevent

from tests.peer import PATIENCE_S, Peer, Server, until
from tokenswarm.client.request_spec import RequestSpec
from tokenswarm.client.timeouts import Timeouts
from tokenswarm.engines import ENGINES, ChatRequest
from tokenswarm.probe.stream_trace import StreamTrace
from tokenswarm.probe.traced_request import send_traced
from tokenswarm.wire import StreamClient

PATIENT = Timeouts(connect_s=PATIENCE_S, first_token_s=PATIENCE_S, idle_s=PATIENCE_S, total_s=PATIENCE_S)
QUESTION = ChatRequest(model="tiny", prompt="Why?", system_prompt=None, max_tokens=8)
ROLE = '{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}'
USAGE = '{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14}}'


def words(text: str, finish: str = "null") -> str:
    return f'{{"choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":{finish}}}]}}'


def chunk(*events: str) -> bytes:
    """One HTTP chunk of so many events; a comment is written as it is."""
    body = "".join(event if event.startswith(":") else f"data: {event}\n\n" for event in events).encode()
    return b"%x\r\n%b\r\n" % (len(body), body)


def told(
    server: Server,
    answer: Callable[[Peer], None],
    head: bytes = b"",
    engine: str = "vllm",
    count_tokens: Callable[[str], int] | None = None,
) -> StreamTrace:
    """The trace of an answer that the test gives step by step, behind a head of its own."""
    client = StreamClient(server.origin, PATIENCE_S)
    asking = gevent.spawn(
        send_traced, client, RequestSpec(ENGINES[engine], QUESTION, PATIENT, "probe", count_tokens=count_tokens)
    )
    peer = server.accept()
    peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n" + head + b"\r\n")
    answer(peer)
    trace = asking.get(timeout=PATIENCE_S)
    client.close()
    assert isinstance(trace, StreamTrace)
    return trace


def pause() -> None:
    """Long enough for what was sent to be read, and stamped apart from what follows."""
    gevent.sleep(0.02)


def test_every_moment_and_amount_of_an_answer(server: Server) -> None:
    def answer(peer: Peer) -> None:
        pause()
        peer.send(chunk(": waiting\n\n"))
        pause()
        peer.send(chunk(ROLE))
        pause()
        peer.send(chunk(words("A lamp")))
        peer.send(chunk(words(" is", "null"), words(" lit", "null")))
        pause()
        peer.send(chunk(words(".", '"stop"')) + chunk(USAGE) + chunk("[DONE]") + b"0\r\n\r\n")

    trace = told(server, answer, b"Server: uvicorn\r\nX-Secret: s\r\n", count_tokens=lambda text: len(text.split()))
    assert (trace.outcome, trace.status, trace.error) == ("ok", 200, None)
    moments = [trace.headers_s, trace.first_byte_s, trace.first_event_s, trace.first_output_s, trace.last_output_s]
    assert None not in moments
    assert moments == sorted(set(moments))  # type: ignore[type-var]
    assert (trace.end_s or 0) >= (trace.last_output_s or 0)
    assert (trace.http_chunks, trace.events, trace.output_events, trace.comments) == (7, 7, 4, 1)
    assert trace.reads >= 4
    assert trace.tokens == {"usage": 5, "tokenizer": 4, "events": 4}
    assert (trace.best_tokens, trace.prompt_tokens, trace.finish_reason) == (5, 9, "stop")
    assert trace.text == "A lamp is lit."
    assert trace.keep_alive_promised
    assert trace.headers == {
        "content-type": "text/event-stream",
        "transfer-encoding": "chunked",
        "server": "uvicorn",
    }


def test_the_role_and_a_comment_are_no_output(server: Server) -> None:
    def answer(peer: Peer) -> None:
        peer.send(chunk(ROLE))
        pause()
        peer.send(chunk(words("Hi", '"stop"'), "[DONE]") + b"0\r\n\r\n")

    trace = told(server, answer)
    assert trace.first_event_s is not None and trace.first_output_s is not None
    assert trace.first_output_s - trace.first_event_s >= 0.02
    assert trace.comments == 0


def test_an_answer_in_one_piece_says_so(server: Server) -> None:
    def answer(peer: Peer) -> None:
        pause()
        peer.send(chunk(*[words("a")] * 9, words("b", '"length"'), "[DONE]") + b"0\r\n\r\n")

    trace = told(server, answer)
    assert (trace.http_chunks, trace.output_events, trace.outputs_in_largest_read) == (1, 10, 10)


def test_bare_text_is_read_to_its_end_and_nobody_counts_its_tokens(server: Server) -> None:
    def answer(peer: Peer) -> None:
        for text in (b"\n: no", b" comment"):
            peer.send(b"%x\r\n%b\r\n" % (len(text), text))
            pause()
        peer.send(b"0\r\n\r\n")

    trace = told(server, answer, b"Connection: close\r\nDate: Mon, 01 Jan 2001 00:00:00 GMT\r\n", "bentoml")
    assert (trace.outcome, trace.text, trace.http_chunks) == ("ok", "\n: no comment", 2)
    assert trace.tokens == {"events": 2}
    assert (trace.finish_reason, trace.prompt_tokens, trace.comments) == (None, None, 0)
    assert not trace.keep_alive_promised
    assert trace.clock_ahead_s is not None and trace.clock_ahead_s < -1e8


def test_what_went_wrong_is_the_outcome_that_a_run_would_count(server: Server) -> None:
    def answer(peer: Peer) -> None:
        peer.send(chunk(words("Hi")))
        pause()
        peer.close()

    trace = told(server, answer)
    assert (trace.outcome, trace.end_s) == ("truncated", None)
    assert "the connection ended inside the response's body" in str(trace.error)
    until(lambda: not server.has_callers())

"""The paced server's answers as bytes, rendered beforehand: the simulator's events, in vLLM's dialect."""

from __future__ import annotations

import tokenswarm.simulator.tokens
from tokenswarm.simulator.dialect import GenerationRequest, Usage
from tokenswarm.simulator.dialects.vllm import VllmDialect

HEAD = (
    b"HTTP/1.1 200 OK\r\n"
    b"server: truth\r\n"
    b"content-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
LAST_CHUNK = b"0\r\n\r\n"

_CREATED_S = 1_700_000_000
_PROMPT_TOKENS = 32
# Its multiples, modulo 1, fill the unit interval evenly, however many there are.
_SILVER = 0.4142135623730951


class RenderedAnswers:
    """One write a token: the role goes with the first, the finish, the usage and `[DONE]` with the last.

    All answers say the same words, and end sooner or later.
    """

    def __init__(self, tokens_min: int, tokens_max: int) -> None:
        self._tokens_min = tokens_min
        self._lengths = tokens_max - tokens_min + 1
        opening, *texts = map(_chunk, answer_events(tokens_max)[:tokens_max])
        self.writes = [opening + texts[0], *texts[1:]]
        self.endings = {
            tokens: b"".join(map(_chunk, answer_events(tokens)[tokens:])) + LAST_CHUNK
            for tokens in range(tokens_min, tokens_max + 1)
        }

    def tokens(self, number: int) -> int:
        """How long the answer to that request is. Lengths are evenly spread and never repeat soon, so that users who
        began at once do not go on in step."""
        return self._tokens_min + int(number * _SILVER % 1 * self._lengths)


def answer_events(tokens: int) -> list[bytes]:
    """The events of an answer of at least two tokens: the role, one a token, usage, [DONE]."""
    dialect = VllmDialect("truth", max_model_len=2 * tokens, created_s=_CREATED_S)
    generation = GenerationRequest(
        prompt=[], max_tokens=tokens, min_tokens=0, ignore_eos=True, stream=True, include_usage=True, model="truth"
    )
    writer = dialect.writer(generation, "5f2d9c1ab7e04836", _CREATED_S)
    answer = tokenswarm.simulator.tokens.AnswerGenerator(seed=0, median_tokens=tokens, sigma=0).draw(
        0, tokens, ignore_eos=True
    )
    words = [writer.tokens([answer.word(index)], False) for index in range(tokens - 1)]
    ending = writer.ending([answer.word(tokens - 1)], False, answer.finish_reason, Usage(_PROMPT_TOKENS, 0, tokens))
    return [writer.opening(), *words, *ending]


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)

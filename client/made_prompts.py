"""Requests of sessions whose source records lengths and shared beginnings in place of texts: the texts are made when
the requests are due, and each has exactly the recorded length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from tokenswarm.client.chat_session import DrawnPrompt
from tokenswarm.client.request_options import ChatOptions
from tokenswarm.metrics.shareable import Shareable, SharedPart, key_of, shared_beginnings, template_start
from tokenswarm.prompts import Prompt, PromptReuse, SessionTurn, TextPart
from tokenswarm.prompts.prompt_parts import COMMON_PART
from tokenswarm.prompts.synthetic.block_texts import SHIFT_TOKENS
from tokenswarm.prompts.synthetic.calibration import TextCalibration
from tokenswarm.prompts.synthetic.length_plan import RequestLengths
from tokenswarm.prompts.synthetic.part_texts import text_of_parts
from tokenswarm.prompts.synthetic.text_maker import TextMaker

#: Of the last parts of a prompt, so many are looked for in the cache: the request before has all but the last few.
_LOOKED_FOR = 6


class MadePrompts:
    """Makes the prompts of a worker's sessions. in_place: calls a function that may take milliseconds."""

    def __init__(
        self,
        options: ChatOptions,
        calibration: TextCalibration,
        maker: TextMaker,
        in_place: Callable[..., Any] = lambda make, *arguments: make(*arguments),
    ) -> None:
        self._options = options
        self._calibration = calibration
        self._maker = maker
        self._in_place = in_place

    def drawn(self, before: DrawnPrompt, turn: Prompt | SessionTurn, mode: str) -> DrawnPrompt:
        """The request of a turn. before: an earlier one of its session, with the place of this one; mode: whether it
        has the system prompt, `on` or `off`."""
        scope, parts = self._scope(before), turn.parts
        if not self._options.cache.shares:
            parts = (TextPart(key_of("alone", before.place.agent, before.place.turn), turn.tokens),)
        head_tokens = self._calibration.head_tokens[mode]
        text = self._in_place(text_of_parts, self._maker, scope, parts, head_tokens)
        requested = self._options.lengths.of_request(self._options.seed, before.number, before.place.turn)
        lengths = RequestLengths(turn.tokens, turn.max_tokens if requested.output is None else requested.output)
        prompt = replace(
            before.prompt,
            text=text,
            tokens=turn.tokens,
            max_tokens=lengths.output,
            body_overrides=turn.body_overrides,
            parts=turn.parts,
            agents=turn.agents,
        )
        return before._replace(prompt=prompt, lengths=lengths, shareable=self._shareable(scope, parts, mode))

    def _scope(self, drawn: DrawnPrompt) -> int:
        """Sessions of one scope have the same texts: each of the run has its own, unless they may repeat."""
        if self._options.prompt_reuse is PromptReuse.NEVER:
            return drawn.number
        return int(drawn.prompt.id)

    def _shareable(self, scope: int, parts: Sequence[TextPart], mode: str) -> Shareable | None:
        """What a prefix cache may hold of the prompt; None where that is not known."""
        block_tokens, calibration = self._options.cache.block_tokens, self._calibration
        if block_tokens is None:
            return None
        if not self._options.cache.shares:
            return Shareable(block_tokens, template_start(calibration.head_tokens.get("off", 0)))
        if not calibration.includes_template:
            return None
        found: list[SharedPart] = []
        end = 0
        for part in parts:
            end += part.tokens
            owner = ("common",) if part.key == COMMON_PART else ("session", scope)
            found.append(SharedPart(key_of("part", *owner, part.key), end, end + SHIFT_TOKENS))
        start = shared_beginnings(mode, calibration.head_tokens[mode], None, 0)
        return Shareable(block_tokens, (*start, *found[-_LOOKED_FOR:]))

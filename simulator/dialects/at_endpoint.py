"""An engine at another endpoint than its chat: the same limits, models, fields of its own and errors."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import msgspec

from tokenswarm.simulator.dialect import Dialect, GenerationRequest, PageResponse, Problem, Show

#: Padding of events, so long that an event's length says little of its text's.
PADDING = "AbCdEfGhIjKlMnOpQrStUvWxYz012345"


class EndpointDialect(Dialect):
    """A dialect that reads requests of its own shape and leaves everything else to the engine's chat dialect."""

    path: ClassVar[str]

    def __init__(self, chat: Dialect) -> None:
        self._chat = chat
        self.traits = replace(chat.traits, generate_path=self.path, role="")
        super().__init__(chat.model, chat.max_model_len, chat.created_s, chat.only_model, chat.style)

    def read_as_chat(self, fields: dict[str, Any], headers: Mapping[str, str]) -> GenerationRequest:
        """What the engine makes of a chat request with these fields. Raises Problem."""
        return self._chat.understand(msgspec.json.encode(fields), headers)

    def stream_headers(self, generation: GenerationRequest, request_id: str) -> dict[str, str]:
        return self._chat.stream_headers(generation, request_id)

    def pages(self) -> dict[str, PageResponse | Show]:
        return {}

    def problem(self, problem: Problem) -> PageResponse:
        return self._chat.problem(problem)

    def unauthorized(self) -> PageResponse:
        return self._chat.unauthorized()

    def overloaded(self, stream: bool) -> PageResponse:
        return self._chat.overloaded(stream)

    def internal_error(self) -> PageResponse:
        return self._chat.internal_error()

"""What is kept of one request and its response while it streams. See recording/kept_requests.py."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tokenswarm.client.request_spec import RequestSpec
from tokenswarm.engines import ChatRequest, Delta
from tokenswarm.metrics.timeline import Timeline
from tokenswarm.recording.kept_requests import RecordMode
from tokenswarm.wire import Arrival, Exchange

#: Of a response; what comes after is not kept.
_MOST_RESPONSE_BYTES = 16 * 2**20


class RequestKeeper:
    """Observes a request, and gives what is to be kept of it once it is over."""

    def __init__(self, mode: RecordMode, spec: RequestSpec) -> None:
        self._mode, self._spec = mode, spec
        self._clear()

    def _clear(self) -> None:
        self._sent_ns = 0
        self._size = 0
        self._reads: list[tuple[int, bytes]] = []
        self._texts: list[str] = []
        self._reasoning: list[str] = []
        self._tool_arguments: list[str] = []

    def on_sent(self, exchange: Exchange) -> None:
        """See StreamObserver. What came on a connection that was lost is not the response."""
        self._clear()
        self._sent_ns = exchange.sent_ns

    def on_events(self, arrival: Arrival, deltas: Sequence[Delta]) -> None:
        """See StreamObserver."""
        self._size += len(arrival.data)
        if self._size > _MOST_RESPONSE_BYTES:
            return
        if self._mode is not RecordMode.TEXT:
            self._reads.append((arrival.arrived_ns, arrival.data))
            return
        for delta in deltas:
            self._texts.append(delta.text)
            self._reasoning.append(delta.reasoning)
            self._tool_arguments.append(delta.tool_arguments)

    def document(self, row_id: str, timeline: Timeline, error_body: bytes) -> dict[str, Any]:
        """What is kept. row_id: of the request in requests.csv; error_body: the beginning of a response that is no
        stream."""
        found: dict[str, Any] = {
            "id": row_id,
            "custom_id": timeline.custom_id,
            "prompt_id": timeline.prompt_id,
            **({"session": timeline.session, "turn": timeline.turn} if timeline.session else {}),
            "level_index": timeline.level_index,
            "outcome": timeline.outcome.value,
            "status": timeline.status,
            "error": timeline.error,
            "finish_reason": timeline.finish_reason,
        }
        if self._mode is RecordMode.TEXT:
            found["messages"] = self._spec.request.messages
            if self._spec.request.image is not None:
                found["image"] = self._spec.request.image.digest
            found["text"] = "".join(self._texts)
            found["reasoning"] = "".join(self._reasoning)
            found["tool_arguments"] = "".join(self._tool_arguments)
        else:
            found["request"] = _as_json(self._spec.engine.request_body(_with_named_image(self._spec.request)))
        if self._mode is RecordMode.BODIES:
            found["response"] = b"".join(data for _, data in self._reads).decode("utf-8", "replace")
        if self._mode is RecordMode.EVENTS:
            found["reads"] = [
                {"after_ms": round((arrived_ns - self._sent_ns) / 1e6, 6), "data": data.decode("utf-8", "replace")}
                for arrived_ns, data in self._reads
            ]
        if error_body:
            found["error_body"] = error_body.decode("utf-8", "replace")
        if self._size > _MOST_RESPONSE_BYTES:
            found["response_bytes"] = self._size
        return found


def _with_named_image(request: ChatRequest) -> ChatRequest:
    """Without the content of its image: megabytes that each request would have again."""
    return request if request.image is None else replace(request, image=request.image.named)


def _as_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")

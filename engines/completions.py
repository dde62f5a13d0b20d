"""OpenAI's completions: one text goes on. Chunks are those of chat, with `text` in place of a delta."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from tokenswarm.engines.engine_spec import ChatRequest
from tokenswarm.engines.openai import OpenAICompatible
from tokenswarm.engines.templates import ChatTemplate


@dataclass(frozen=True, kw_only=True)
class OpenAICompletions(OpenAICompatible):
    """An OpenAI-compatible engine at its completions endpoint.

    template: makes one text of system prompt, earlier messages and prompt. None: a base model's text, which is the
    system prompt (if there is one), a blank line and the prompt; earlier messages have no place in it.
    """

    path: str = "/v1/completions"
    template: ChatTemplate | None = None

    def input_fields(self, request: ChatRequest) -> dict[str, Any]:
        """The text. Raises EngineError for a template that refuses this request."""
        if self.template is not None:
            return {"prompt": self.template.render(request)}
        system = f"{request.system_prompt}\n\n" if request.system_prompt else ""
        return {"prompt": f"{system}{request.prompt}"}


def completions_of(engine: OpenAICompatible, template: ChatTemplate | None = None) -> OpenAICompletions:
    """The engine at its completions endpoint."""
    own = {each.name: getattr(engine, each.name) for each in fields(engine)}
    changed = {
        "path": "/v1/completions",
        "takes_turns": template is not None,
        "takes_tool_turns": False,
        "takes_images": False,
        "template": template,
    }
    return OpenAICompletions(**(own | changed))

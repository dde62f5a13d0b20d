"""Chat templates, for endpoints that take one text and apply none: Jinja, with the variables of transformers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from jinja2 import Template

from tokenswarm.engines.engine_spec import ChatRequest, EngineSpec
from tokenswarm.engines.errors import EngineError
from tokenswarm.engines.sampling_fields import Sampling
from tokenswarm.engines.template_sandbox import parse_template, render, survives_trial

#: Llama 3's, as LMDeploy 0.4.0 has it (lmdeploy/model.py).
_LLAMA_3 = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n{{ message.content }}<|eot_id|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
_SAMPLE = ChatRequest(model="", prompt="Why?", system_prompt="Be brief.", max_tokens=1)


@dataclass(frozen=True)
class ChatTemplate:
    """name: as --chat-template has it. stop: the text that ends a turn, where it is known."""

    name: str
    jinja: Template
    stop: str | None = None

    def render(self, request: ChatRequest) -> str:
        """The request as one text, up to where the answer begins. bos_token is empty: the endpoints that take such a
        text have their tokenizer put it in front. Raises EngineError."""
        try:
            return render(self.jinja, request.messages)
        except Exception as error:  # a template is code of its own: it may fail in any way
            raise EngineError(f"the chat template {self.name} cannot be applied: {error}") from None


def compile_template(name: str, source: str) -> ChatTemplate:
    """A template from its Jinja source. Raises EngineError where it cannot be read or applied."""
    if not survives_trial(source):
        raise EngineError(
            f"the chat template {name} takes more time or memory than a short request may; give one without such loops"
        )
    try:
        template = ChatTemplate(name, parse_template(source))
    except Exception as error:  # Jinja's, and those of Python's compiler: too many blocks in one another
        raise EngineError(f"the chat template {name} cannot be read: {error}") from None
    if _SAMPLE.prompt not in template.render(_SAMPLE):
        raise EngineError(f"the chat template {name} leaves the prompt out; it is Jinja over `messages`")
    return template


LLAMA_3 = ChatTemplate("llama-3", parse_template(_LLAMA_3), "<|eot_id|>")


@dataclass(frozen=True, kw_only=True)
class TemplatedEngine(EngineSpec):
    """An engine whose endpoint takes one text, and applies no template to it."""

    template: ChatTemplate = LLAMA_3

    def sampling_fields(self, sampling: Sampling) -> dict[str, Any]:
        """See EngineSpec. The stop texts go beside the template's own, which would else be lost."""
        if sampling.stop is not None and self.template.stop:
            sampling = replace(sampling, stop=(self.template.stop, *sampling.stop))
        return super().sampling_fields(sampling)

"""Chat templates, for endpoints that take one text and apply none: Jinja, with the variables of transformers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from engines.records import ChatRequest, Engine, EngineError, SystemPrompt

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
            return self.jinja.render(messages=request.messages, add_generation_prompt=True, bos_token="", eos_token="")
        except Exception as error:  # a template is code of its own: it may fail in any way
            raise EngineError(f"the chat template {self.name} cannot be applied: {error}") from None


def compile_template(name: str, source: str) -> ChatTemplate:
    """A template from its Jinja source. Raises EngineError where it cannot be read or applied."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.globals["raise_exception"] = _raise
    try:
        template = ChatTemplate(name, environment.from_string(source))
    except TemplateError as error:
        raise EngineError(f"the chat template {name} cannot be read: {error}") from None
    if _SAMPLE.prompt not in template.render(_SAMPLE):
        raise EngineError(f"the chat template {name} leaves the prompt out; it is Jinja over `messages`")
    return template


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


LLAMA_3 = ChatTemplate(
    "llama-3", ImmutableSandboxedEnvironment(keep_trailing_newline=True).from_string(_LLAMA_3), "<|eot_id|>"
)


@dataclass(frozen=True, kw_only=True)
class TemplatedEngine(Engine):
    """An engine whose endpoint takes one text, and applies no template to it."""

    system_prompt: SystemPrompt = SystemPrompt.TEMPLATE
    template: ChatTemplate = LLAMA_3

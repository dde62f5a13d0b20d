"""What is sent: data sets, sampling, lengths and system prompts."""

from tokenswarm.prompts.counting import TokenCounter, estimate_tokens, token_counter
from tokenswarm.prompts.nonces import PromptMarker, PromptReuse, new_run_nonce
from tokenswarm.prompts.own_sources import is_own_source, register_prompts
from tokenswarm.prompts.prompt_records import (
    ENDPOINTS,
    ChatMessage,
    Prompt,
    PromptError,
    PromptSet,
    SessionTurn,
    SubAgent,
    TextPart,
)
from tokenswarm.prompts.sampling import Sampler, SessionSampler
from tokenswarm.prompts.sources import SHIPPED_SOURCES, load_prompts, parse_token_range
from tokenswarm.prompts.system import DEFAULT_SYSTEM_PROMPT, load_system_prompt

__all__ = [
    "DEFAULT_SYSTEM_PROMPT",
    "ENDPOINTS",
    "SHIPPED_SOURCES",
    "ChatMessage",
    "Prompt",
    "PromptError",
    "PromptMarker",
    "PromptReuse",
    "PromptSet",
    "Sampler",
    "SessionSampler",
    "SessionTurn",
    "SubAgent",
    "TextPart",
    "TokenCounter",
    "estimate_tokens",
    "is_own_source",
    "load_prompts",
    "load_system_prompt",
    "new_run_nonce",
    "parse_token_range",
    "register_prompts",
    "token_counter",
]

if __name__ != "tokenswarm.prompts":
    raise __import__("tokenswarm").bare_import(__name__)

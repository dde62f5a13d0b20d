"""What is asked: data sets, sampling, lengths and system prompts."""

from prompts.counting import TokenCounter, estimate_tokens, token_counter
from prompts.nonces import PromptMarker, PromptReuse, new_run_nonce
from prompts.records import Prompt, PromptError, PromptSet, Turn
from prompts.sampling import Sampler
from prompts.sources import SHIPPED_SOURCES, load_prompts, parse_token_range
from prompts.system import DEFAULT_SYSTEM_PROMPT, load_system_prompt

__all__ = [
    "DEFAULT_SYSTEM_PROMPT",
    "SHIPPED_SOURCES",
    "Prompt",
    "PromptError",
    "PromptMarker",
    "PromptReuse",
    "PromptSet",
    "Sampler",
    "TokenCounter",
    "Turn",
    "estimate_tokens",
    "load_prompts",
    "load_system_prompt",
    "new_run_nonce",
    "parse_token_range",
    "token_counter",
]

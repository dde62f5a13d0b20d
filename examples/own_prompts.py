"""A prompt source of your own: Tokenswarm's users send what a function makes, with all options that they have.

    tokenswarm run -f examples/own_prompts.py -H http://gpu:8000 --prompts tickets --prompt-tokens 1:200

A row is a text, or a mapping with the columns of a JSONL file: messages, max_tokens, custom_id, … (docs/prompts.md).
The function is called with --seed on each process of a run, and must make the same rows of it each time.
"""

import random
from collections.abc import Iterator
from typing import Any

from tokenswarm import ChatUser, SystemPromptChatUser, register_prompts

__all__ = ["ChatUser", "SystemPromptChatUser"]  # Locust runs the user classes that it finds in a locustfile

PRODUCTS = ("printer", "router", "headset", "monitor")
TROUBLES = ("does not turn on", "is too loud", "loses its connection", "shows an error 42")


@register_prompts("tickets")
def tickets(seed: int) -> Iterator[dict[str, Any]]:
    draw = random.Random(seed)
    for number in range(50):
        product, trouble = draw.choice(PRODUCTS), draw.choice(TROUBLES)
        yield {
            "custom_id": f"ticket-{number}",
            "system": "You answer customers politely.",
            "prompt": f"My {product} {trouble}. What can I do?",
            "max_tokens": draw.randint(8, 16),
        }

"""A BentoML service of the /generate shape, as the published ones for Llama 3 have it, without a model: it streams
words at a steady pace, one for each token that it was asked for.

Runs as `python -m bentoml serve service:Reader` in this folder.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated

import bentoml
from annotated_types import Ge, Le

FIRST_S = 0.05
STEP_S = 0.002
#: One of them of several bytes, which a read may cut.
WORDS = (" lamp", " sea", " é漢🙂", " storm")


@bentoml.service(traffic={"timeout": 30})
class Reader:
    @bentoml.api
    async def generate(
        self, prompt: str, system_prompt: str | None = None, max_tokens: Annotated[int, Ge(128), Le(1024)] = 512
    ) -> AsyncGenerator[str, None]:
        """Exactly max_tokens words; a prompt that says so breaks off in the middle."""
        await asyncio.sleep(FIRST_S)
        for number in range(max_tokens):
            if "break off" in prompt and number == 3:
                raise RuntimeError("the engine is gone")
            yield WORDS[number % len(WORDS)]
            await asyncio.sleep(STEP_S)

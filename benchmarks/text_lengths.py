"""What it costs to make prompts of a stated length.

python -m benchmarks.text_lengths
"""

from __future__ import annotations

import time

from tokenswarm.prompts.synthetic.text_maker import TextMaker
from tokenswarm.prompts.synthetic.words import distinct_words

PROMPTS = 10_000
TOKENS = 8192


def seconds_of(prompts: int = PROMPTS, tokens: int = TOKENS) -> tuple[float, float]:
    """CPU time (s) of preparing the words, and of making so many prompts of so many tokens."""
    began = time.process_time()
    maker = TextMaker(dict.fromkeys(distinct_words(), 1), "benchmark")
    prepared = time.process_time()
    for number in range(prompts):
        maker.text(number, tokens, 12)
    return prepared - began, time.process_time() - prepared


def main() -> None:
    """Print the result of one round."""
    preparing_s, making_s = seconds_of()
    print(f"{PROMPTS:,} prompts of {TOKENS:,} tokens: {making_s:.2f} s on one core, after {preparing_s:.2f} s once")


if __name__ == "__main__":
    main()

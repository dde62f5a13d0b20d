"""How many tokens each word of a synthetic text costs behind a space: by a tokenizer, or found out by requests.

Most tokenizers divide a text at its spaces before anything else, so that the tokens of words add up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tokenswarm.prompts.synthetic.words import distinct_words

#: What every synthetic text begins with.
HEAD = "Words:"
#: With fewer words of one token each, longer ones are used as well.
_ENOUGH_WORDS = 24
_MOST_LONGER_WORDS = 48
#: After so many measurements no more are made than it takes to have enough words.
_FEW_MEASUREMENTS = 16
#: Groups of words that are measured together, the commonest words first.
_GROUPS = (16, 64)

#: The tokens that these words cost behind the head of a text.
CostOf = Callable[[Sequence[str]], int]


def costs_by_tokenizer(count: Callable[[str], int]) -> dict[str, int]:
    """Of all candidates; count: tokens of a text."""
    alone = count(f"{HEAD} {HEAD}")
    return {word: count(f"{HEAD} {word} {HEAD}") - alone for word in distinct_words()}


def measured_costs(cost_of: CostOf, most_measurements: int) -> dict[str, int]:
    """Of as many candidates as so many measurements can find out.

    A group of words that costs as many tokens as it has words has words of one token each. Any other group is halved:
    one half is measured, the cost of the other is the difference.
    """
    words = list(distinct_words())
    groups = [words[: _GROUPS[0]], words[_GROUPS[0] : sum(_GROUPS)], words[sum(_GROUPS) :]]
    costs: dict[str, int] = {}
    measurements = 0

    def is_enough() -> bool:
        enough = sum(cost == 1 for cost in costs.values()) >= _ENOUGH_WORDS
        return measurements >= (_FEW_MEASUREMENTS if enough else most_measurements)

    for group in groups:
        if is_enough():
            break
        pending = [(group, cost_of(group))]
        measurements += 1
        while pending:
            part, cost = pending.pop()
            if cost == len(part) or len(part) == 1:
                costs |= dict.fromkeys(part, cost // len(part))
            elif not is_enough():
                half = len(part) // 2
                of_half = cost_of(part[:half])
                measurements += 1
                pending += [(part[half:], cost - of_half), (part[:half], of_half)]
    return costs


def chosen_words(costs: Mapping[str, int]) -> dict[str, int]:
    """The words to use: those of one token, if they are enough; else with them the shortest others."""
    known = {word: cost for word, cost in costs.items() if cost > 0}
    of_one = {word: cost for word, cost in known.items() if cost == 1}
    if len(of_one) >= _ENOUGH_WORDS:
        return of_one
    others = sorted((cost, place, word) for place, (word, cost) in enumerate(known.items()) if cost > 1)
    return of_one | {word: cost for cost, _, word in others[:_MOST_LONGER_WORDS]}

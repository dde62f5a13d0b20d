"""How long a run's system prompt is, and who counted its tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tokenswarm.metrics.level import PROMPT, Level
from tokenswarm.recording.prompt_notices import OWN_REUSE
from tokenswarm.reports import units
from tokenswarm.run_folder.reader import Results
from tokenswarm.run_folder.schema import LevelSummary


def system_prompt_length(prompts: Mapping[str, Any], levels: Iterable[Level | LevelSummary]) -> str:
    """`about 279 tokens by estimate (…)`, or `281 tokens by tokenizer NAME`. prompts: the facts of run.json. Empty
    where none of the levels has a system prompt, where a locustfile's own code sends it, and in folders of older
    versions."""
    tokens = prompts.get("system_prompt_tokens")
    if tokens is None or prompts.get("reuse") == OWN_REUSE or all(level.system_prompt == "off" for level in levels):
        return ""
    counting = str(prompts.get("system_prompt_counting"))
    about = "about " if counting.startswith("estimate") else ""
    return f"{about}{units.counted(tokens, 'token')} by {counting}"


def system_prompt_note(results: Results) -> str:
    """The same as a sentence, with the mean length of prompts by the server's usage if it reports that; empty where
    there is nothing to say."""
    levels = results.summary.levels
    if not (length := system_prompt_length(results.run.prompts, levels)):
        return ""
    without, having = (
        _mean_prompt([level for level in levels if level.system_prompt == mode]) for mode in ("off", "on")
    )
    known = [(mean, mode) for mean, mode in ((without, "off"), (having, "on")) if mean is not None]
    means = [
        f"{units.amount(round(mean, 1))} tokens{f' {PROMPT[mode]}' if len(known) > 1 else ''}" for mean, mode in known
    ]
    usage = (
        f". Mean input of a request by the server's usage, chat template included: {', '.join(means)}" if means else ""
    )
    return f"System prompt: {length}{usage}."


def _mean_prompt(levels: Sequence[LevelSummary]) -> float | None:
    """Input tokens of a request of the whole levels, by the server's usage; None where it reports none."""
    known = [(level.whole.prompts.prompt_tokens_mean, level.whole.prompts.requests) for level in levels]
    counted = [(mean, requests) for mean, requests in known if mean is not None]
    total = sum(requests for _, requests in counted)
    return sum(mean * requests for mean, requests in counted) / total if total else None

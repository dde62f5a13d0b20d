"""How long a session of a run keeps its connection, about: before the run, without a server."""

from __future__ import annotations

from itertools import islice

from tokenswarm.client.request_options import ChatOptions
from tokenswarm.client.workload import load_workload
from tokenswarm.prompts import Prompt, PromptSet
from tokenswarm.prompts.synthetic.synthetic_prompts import SyntheticSource

#: From sending a request to the end of its response; single requests of an open loop are taken to be as long.
REQUEST_S = 1.0
#: Sessions that the mean is taken of.
_SESSIONS = 1000


def session_seconds(options: ChatOptions, think_mean_s: float) -> float:
    """The mean over sessions: a second for each request, and the think time before each but the first. think_mean_s:
    expected, where the source states no delay. Raises what an unusable option raises."""
    prompts = load_workload(options).prompts
    if isinstance(prompts, SyntheticSource):
        turns = [options.sessions.turns_of(options.seed, number) for number in range(_SESSIONS)]
        times_s = [REQUEST_S * number + think_mean_s * (number - 1) for number in turns]
    elif not isinstance(prompts, PromptSet):
        return REQUEST_S  # of a trace: each of its requests is due by itself
    else:
        times_s = [_seconds_of(prompt, think_mean_s) for prompt in islice(prompts.prompts, _SESSIONS)]
    return sum(times_s) / len(times_s)


def _seconds_of(prompt: Prompt, think_mean_s: float) -> float:
    """Of its first agent; sub-agents are taken to work no longer than it does."""
    delays_s = (think_mean_s if turn.delay_s is None else turn.delay_s for turn in prompt.turns)
    return REQUEST_S * (1 + len(prompt.turns)) + sum(delays_s)

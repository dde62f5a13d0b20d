"""Whether all processes of a run made the same prompts, where a locustfile's code makes them."""

from __future__ import annotations

from tokenswarm.client.request_options import ChatOptions
from tokenswarm.client.workload import load_workload
from tokenswarm.prompts import PromptError, is_own_source

#: Not an option: the fingerprint of the prompts on the process that leads the run, sent to workers with the options.
OWN_PROMPTS = "own_prompts_fingerprint"


def own_fingerprint(options: ChatOptions) -> str:
    """Of prompts that code makes, "" for others. Raises PromptError."""
    return str(load_workload(options).prompts.facts()["fingerprint"]) if is_own_source(options.prompts) else ""


def check_own_prompts(options: ChatOptions, expected: str) -> None:
    """expected: the fingerprint on the process that leads the run, "" where code makes none. Raises PromptError."""
    if expected and own_fingerprint(options) != expected:
        raise PromptError(
            f"prompts from {options.prompts!r}: the function of the locustfile made other rows here than on the "
            "master: have it make them of its seed alone."
        )

"""--prefix and --cache: what requests share, and what the server's prefix cache may do with it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from tokenswarm.client.option_values import OptionError, choice_of
from tokenswarm.command_line import OptionAdder
from tokenswarm.engines import ENGINES, EngineSpec
from tokenswarm.prompts import PromptReuse
from tokenswarm.prompts.synthetic.shared_prefixes import PrefixPlan, parse_prefix

#: Not an option of the command line: set when the run begins, and sent to workers with the options.
CACHE_BLOCK_TOKENS = "cache_block_tokens"
_REUSE = "prompt_reuse"


class CacheUse(StrEnum):
    """What the server's prefix cache may find: whatever requests share (SHARE), nothing of another request (BUST), or
    what requests of the same level share (FLUSH)."""

    SHARE = "share"
    BUST = "bust"
    FLUSH = "flush"


@dataclass(frozen=True, slots=True)
class CacheOptions:
    """prefix: None where requests have none. block_tokens: of the server's prefix cache, None where that is not known,
    and before the run's start has found it out."""

    use: CacheUse = CacheUse.SHARE
    prefix: PrefixPlan | None = None
    block_tokens: int | None = None

    @classmethod
    def of(cls, options: Namespace) -> CacheOptions:
        """Check and convert. Raises OptionError; PromptError, with the place of the error, for a prefix that cannot be
        read."""
        block_tokens: int | None = getattr(options, CACHE_BLOCK_TOKENS, None)
        return cls(choice_of(CacheUse, "--cache", options.cache), parse_prefix(options.prefix), block_tokens)

    @property
    def shares(self) -> bool:
        """Whether a request may find anything of another in the cache."""
        return self.use is not CacheUse.BUST

    def facts(self) -> dict[str, str | int | float]:
        """What run.json records of it among the prompts' facts."""
        facts: dict[str, str | int | float] = {"cache": self.use.value}
        if self.prefix is not None:
            facts |= {"prefix_groups": self.prefix.groups, "prefix_tokens": self.prefix.tokens}
            facts |= {} if self.prefix.zipf is None else {"prefix_zipf": self.prefix.zipf}
        return facts


def add_cache_options(option: OptionAdder) -> None:
    """Add the options to Locust's parser."""
    option(
        "--prefix",
        'shared prefixes: "groups=64 tokens=2048 zipf=1.2" gives each request a prefix of 2,048 tokens, the same for '
        "all requests of a group; the number of requests of the k-th of 64 groups is proportional to 1/k^1.2, without "
        "zipf all groups have equally many, without groups there is one. The prefix is part of the length that "
        "--input-tokens sets; with --prompts it is put before each prompt (docs/workloads.md#shared-prefixes). Empty: "
        "none",
    )
    option.choice(
        "--cache",
        CacheUse,
        CacheUse.SHARE,
        "what the server's prefix cache can reuse: share: what requests have in common (system prompt, --prefix, and "
        "prompts that --prompt-reuse lets repeat); bust: nothing, as each request begins with random words, before its "
        "system prompt; flush: as share, and the engine's own endpoint empties the cache before each level "
        "(docs/workloads.md#prefix-caches)",
    )


def check_flush(cache: CacheOptions, engine: EngineSpec) -> None:
    """Raises OptionError where the engine has no endpoint that empties its prefix cache."""
    if cache.use is CacheUse.FLUSH and not engine.flush_path:
        able = ", ".join(name for name, each in ENGINES.items() if each.flush_path)
        raise OptionError(
            f"--cache flush: {engine.name} has no endpoint that empties its prefix cache ({able} have one); give "
            "--cache bust, or restart the server."
        )


def check_conflicts(options: Namespace, sources: Mapping[str, str]) -> None:
    """At start-up: refuse options that contradict each other. sources: where each option that was given comes from, by
    its name. Raises OptionError."""
    if options.cache == CacheUse.BUST and options.prompt_reuse != PromptReuse.NEVER and _REUSE in sources:
        raise OptionError(
            f"{sources[_REUSE]} has no effect beside --cache bust: no text is sent twice then; leave one of them out."
        )

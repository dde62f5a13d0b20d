"""Whether a run's figures are its server's work or its prefix cache's: repeated prompts, and prefix-cache hits. Pure.

The bounds, applied to the hold of each level, are those of recording/prompt_notices.py.
"""

from __future__ import annotations

from tokenswarm.recording.cache_audit import HITS_BOUND, beyond_expected
from tokenswarm.recording.mix_stats import DEFAULT_NAME
from tokenswarm.recording.prompt_notices import OWN_REUSE, REPEATS_BOUND, hits_exceed, is_fixed_start, repeats_exceed
from tokenswarm.reports import units
from tokenswarm.reports.cache_notes import expected_in_words, observed_in_words
from tokenswarm.reports.level_names import level_name
from tokenswarm.run_folder.mix_figures import MemberFigures
from tokenswarm.run_folder.reader import Results
from tokenswarm.run_folder.schema import IssueKind, LevelSummary

#: Of requests, in a sentence.
_MOST_NAMES = 5


def reuse_of(results: Results) -> str:
    """The run's --prompt-reuse: never, run or always; always for a run of before the option; OWN_REUSE where a
    locustfile's own users send what its code says."""
    if results.run.prompts.get("reuse") == OWN_REUSE:
        return OWN_REUSE
    return str(results.run.options.get("prompt_reuse") or results.run.prompts.get("reuse") or "always")


def hit_ratio(level: LevelSummary) -> float | None:
    """Prompt tokens of the hold that came from the prefix cache, 0 to 1: by the server's own metrics, else by the usage
    of its answers. None where the server reports neither."""
    hold = level.hold
    if hold.server is not None and hold.server.prefix_cache_hit_ratio is not None:
        return hold.server.prefix_cache_hit_ratio
    return hold.prompts.cached_share


def hits_differ(base: LevelSummary, new: LevelSummary, reuse: str) -> bool:
    """Whether the hit ratios of two runs' same level are too far apart for their TTFTs to be compared: by more than
    HITS_BOUND, and by more than a chat template's beginning where prompts cannot repeat."""
    one, other = hit_ratio(base), hit_ratio(new)
    if one is None or other is None or abs(one - other) <= HITS_BOUND:
        return False
    return not is_fixed_start(abs(one - other), new.hold.prompts, reuse)


def prompt_notices(results: Results) -> list[str]:
    """A sentence for repeats above their bound, one for hits above theirs, with the figures, and one for images that
    repeat; none where nothing of it is so."""
    levels, reuse = results.summary.levels, reuse_of(results)
    found = _image_notices(results)
    if repeating := [level for level in levels if repeats_exceed(level.hold.prompts)]:
        text = ", ".join(f"{level_name(level)}: {_repeats_in_words(level)}" for level in repeating)
        found.append(
            f"PROMPTS REPEAT: more than {units.set_share(REPEATS_BOUND)} of the requests sent a text that was sent "
            f"before in this run ({text}). A server that caches prefixes answers those sooner: TTFT is then partly its "
            f"cache's. {' '.join(_causes_of_repeats(results, repeating, reuse))}".rstrip()
        )
    hitting = [
        level
        for level in levels
        if hits_exceed(hit_ratio(level), level.hold.prompts, level.system_prompt, _reuse_in(level, reuse))
        and not _has_turns(level)
    ]
    if hitting:
        text = _list(hitting, {level.index: hit_ratio(level) for level in hitting})
        why = (
            "another client loads the server too, and its hits are counted with this run's"
            if any(issue.kind == IssueKind.OTHER_LOAD for issue in results.summary.validity.issues)
            else "prompts of the trace share what they begin with"
            if _is_replay(results)
            else "no prompt was sent twice, so the server or a gateway puts a long text before each"
            if reuse == "never"
            else f"prompts were sent before, in this run or an earlier one (--prompt-reuse {reuse})"
        )
        found.append(
            f"PREFIX-CACHE HITS: without a system prompt, more than {units.set_share(HITS_BOUND)} of the prompt "
            f"tokens came from the server's prefix cache ({text}): {why}. TTFT is that of what was left to compute."
        )
    missing = [level for level in levels if beyond_expected(observed_share(level), level.hold.prompts) < 0]
    if missing:
        text = "; ".join(
            f"{level_name(level)}: {expected_in_words(level)}, {observed_in_words(level)}" for level in missing
        )
        found.append(
            f"FEWER PREFIX-CACHE HITS THAN EXPECTED ({text}): the server's prefix cache is off, too small for what was "
            "sent, or not shared by all replicas of the server."
        )
    return found


def observed_share(level: LevelSummary) -> float | None:
    """Prompt tokens of the hold that were cached, 0 to 1: by the usage of its answers, else by the server's counters.
    None where the server reports neither."""
    by_usage = level.hold.prompts.cached_share
    return hit_ratio(level) if by_usage is None else by_usage


def _repeats_in_words(level: LevelSummary) -> str:
    """The share of repeated texts, and that of the prompt tokens which the cache held, where the server reports it."""
    repeated, cached = units.percentage(level.hold.prompts.repeated_share), observed_share(level)
    return repeated if cached is None else f"{repeated}; {units.percentage(cached)} of the prompt tokens cached"


def _causes_of_repeats(results: Results, levels: list[LevelSummary], reuse: str) -> list[str]:
    """Whose texts repeat, and what can be done that the run has not done, in a sentence or two each."""
    own = sorted({each.name for level in levels for each in _own_names(level) if each.repeated != 0})
    found, cache = [], results.run.options.get("cache")
    again = sum(level.hold.prompts.repeated_from_earlier_levels for level in levels)
    if again and cache not in ("bust", "flush"):
        share = units.percentage(again / sum(level.hold.prompts.requests for level in levels))
        found.append(
            f"{share} of the requests sent a text of an earlier level: levels warm the cache for each other. --cache "
            "flush empties it before each level, where the engine has an endpoint for that."
        )
    if own:
        found.append(
            f"The locustfile's own code sent texts again (requests: {_first_of(own)}): begin each text there with "
            "something new, such as uuid.uuid4().hex. Where texts are meant to repeat, as in the load that is to be "
            "measured, nothing is left to do: the verdict does not depend on it."
        )
    if cache != "bust" and any(map(_default_users_repeat, levels)):
        found += _why_default_users_repeat(results, reuse)
    return found


def _why_default_users_repeat(results: Results, reuse: str) -> list[str]:
    """Of Tokenswarm's own users, with what to do."""
    if _is_replay(results):
        return ["They are prompts that the trace has with the same hash ids; --cache bust sends none twice."]
    if reuse in ("run", "always"):
        return [
            f"This run had --prompt-reuse {reuse}: leave it out (never is the default), or give --cache bust instead."
        ]
    return []


def _own_names(level: LevelSummary) -> list[MemberFigures]:
    """Of the requests that users of the locustfile sent in the hold."""
    return [each for each in level.hold.names if each.name != DEFAULT_NAME]


def _first_of(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _default_users_repeat(level: LevelSummary) -> bool:
    """Whether Tokenswarm's own users sent a text again."""
    own = _own_names(level)
    return not own or level.hold.prompts.repeated > sum(each.repeated or 0 for each in own)


def _reuse_in(level: LevelSummary, reuse: str) -> str:
    """The run's, but OWN_REUSE where users of the locustfile sent some of the requests."""
    return OWN_REUSE if _own_names(level) else reuse


def _is_replay(results: Results) -> bool:
    return any(level.arrivals is not None and level.arrivals.trace is not None for level in results.run.plan)


def _has_turns(level: LevelSummary) -> bool:
    """Whether sessions have several turns, of which the later ones find what the earlier ones sent."""
    return level.sessions is not None and len(level.sessions.turns) > 1


def _image_notices(results: Results) -> list[str]:
    again = [image for image in results.run.requests.get("images") or () if not image.get("unique")]
    if not again:
        return []
    return [
        f"IMAGES REPEAT: requests sent the same {units.counted(len(again), 'image')} again and again. A server that "
        "caches images by their content encodes each once: TTFT is then without that work. With --image "
        "synthetic:WIDTHxHEIGHT and --prompt-reuse never, each request has an image of its own."
    ]


def reuse_line(results: Results) -> str | None:
    """What a table's head says of prompts that may repeat; None where none can, and for runs of before the option."""
    reuse = results.run.options.get("prompt_reuse")
    if reuse not in ("run", "always"):
        return None
    share = results.summary.prompts.repeated_share
    text = "" if share is None else f"; {units.percentage(share)} of this run's requests repeated an earlier text"
    how = "drawn at random from the source, as it has them" if reuse == "always" else "unlike those of other runs"
    return f"Prompts may repeat (--prompt-reuse {reuse}): {how}{text}"


def _list(levels: list[LevelSummary], shares: dict[int, float | None]) -> str:
    return ", ".join(f"{level_name(level)}: {units.percentage(shares[level.index])}" for level in levels)

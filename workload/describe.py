"""From a run's options to the description of what it would send."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from tokenswarm.client.cache_options import CacheUse
from tokenswarm.client.request_options import AUTO, ChatOptions
from tokenswarm.client.workload import Workload
from tokenswarm.engines import ENGINES
from tokenswarm.metrics.level import PROMPT, Level, planned_length_s
from tokenswarm.prompts import PromptSet
from tokenswarm.prompts.synthetic.calibration import MOST_TOO_SHORT
from tokenswarm.prompts.synthetic.synthetic_prompts import SyntheticSource
from tokenswarm.prompts.traces.trace_source import TraceSource
from tokenswarm.run_control.run_plan import RunPlan
from tokenswarm.workload.description import (
    LevelFigures,
    ModeFigures,
    NumberFigures,
    PartFigures,
    TooShort,
    TotalFigures,
    WorkloadDescription,
)
from tokenswarm.workload.level_load import level_figures
from tokenswarm.workload.planned_requests import PlannedRequest, RequestSource, request_source, system_prompt_tokens
from tokenswarm.workload.prefix_hits import PrefixHits

#: Requests that are described at most, and where their number depends on the server.
MOST_REQUESTS = 100_000
SAMPLE_REQUESTS = 10_000
_DEFAULT_BLOCK_TOKENS = 16
#: A system prompt has at least this share of its estimated tokens: English texts are within 20 %, others have more.
_LEAST_OF_ESTIMATE = 0.75


@dataclass
class _ModeStats:
    """What is counted of the requests in one mode. hits: of the cache that all modes share."""

    hits: PrefixHits
    sessions: int = 0
    most_turns: int = 0
    prefix_tokens: int = 0
    abandoned: int = 0
    exact: int = 0
    groups: set[object] = field(default_factory=set)
    requests_of_session: Counter[int] = field(default_factory=Counter)
    input_tokens: array[int] = field(default_factory=lambda: array("q"))
    output_tokens: array[int] = field(default_factory=lambda: array("q"))
    turns: array[int] = field(default_factory=lambda: array("q"))

    def add(self, session: list[PlannedRequest], *, is_whole: bool) -> None:
        """Count a session's requests. is_whole: whether these are all of them; only then its turns count."""
        self.sessions += 1
        if is_whole:
            self.turns.append(len(session))
        self.most_turns = max(self.most_turns, len(session))
        for request in session:
            self.requests_of_session[request.session] += 1
            self.input_tokens.append(request.input_tokens)
            self.output_tokens.append(request.output_tokens)
            self.exact += request.is_exact
            self.abandoned += request.abandons
            self.prefix_tokens += request.prefix_tokens
            self.groups.update(found.key for found in request.finds if _is_group(found.key))
            self.hits.add(request.input_tokens, request.finds, request.leaves)

    def figures(self, mode: str) -> ModeFigures:
        """Of all that was counted."""
        requests, (least, most) = len(self.input_tokens), self.hits.ratios or (0.0, 0.0)
        return ModeFigures(
            system_prompt=mode,
            requests=requests,
            sessions=self.sessions,
            input_tokens=lengths_of(self.input_tokens),
            output_tokens=lengths_of(self.output_tokens),
            turns=lengths_of(self.turns or array("q", (self.most_turns,))),
            prefix_groups=len(self.groups),
            prefix_share=self.prefix_tokens / max(1, sum(self.input_tokens)),
            cache_hit_ratio_min=least,
            cache_hit_ratio_max=most,
            abandoned_share=self.abandoned / max(1, requests),
        )


def describe(options: ChatOptions, workload: Workload, plan: RunPlan, hosts: Sequence[str] = ()) -> WorkloadDescription:
    """What a run with these options would send to these hosts. Raises ValueError for what cannot be used."""
    levels = tuple(level_figures(level) for level in plan.levels)
    block_tokens, block_note = _block_tokens(options)
    stats, is_whole = _counted(options, request_source(options, workload), plan.levels, levels, block_tokens)
    abandonment = options.abandonment
    return WorkloadDescription(
        source=workload.prompts.source if isinstance(workload.prompts, PromptSet) else workload.prompts.name,
        seed=options.seed,
        token_counting=_counting(workload),
        outputs_exact=all(found.exact == len(found.input_tokens) for found in stats.values()),
        cache=options.cache.use.value,
        block_tokens=block_tokens,
        abandon=abandonment.after if abandonment else None,
        abandon_share=abandonment.share if abandonment else None,
        modes=tuple(found.figures(mode) for mode, found in sorted(stats.items())),
        levels=levels,
        totals=_totals(stats, plan, levels, is_whole=is_whole),
        models=tuple(_models(options, stats.values())),
        hosts=tuple(_hosts(hosts, plan)),
        too_short=tuple(_too_short(options, workload, stats)),
        notes=tuple(_notes(options, workload, levels, stats, block_note, is_whole=is_whole)),
    )


def _models(options: ChatOptions, stats: Iterable[_ModeStats]) -> Iterator[PartFigures]:
    """Of --models, where there are several. Each session has one."""
    mix = options.models
    if mix is None or len(mix.names) < 2:
        return
    drawn: Counter[str] = Counter()
    for found in stats:
        for session, requests in found.requests_of_session.items():
            drawn[mix.model_of(options.seed, session)] += requests
    for name, share in zip(mix.names, mix.shares):
        yield PartFigures(name=name, part_of="sessions", share=share, drawn_share=drawn[name] / max(1, drawn.total()))


def _hosts(hosts: Sequence[str], plan: RunPlan) -> Iterator[PartFigures]:
    """Where there are several: each gets as many arrivals, or users, as every other."""
    part_of = "requests" if any(level.arrivals is not None for level in plan.levels) else "users"
    if len(hosts) > 1:
        yield from (PartFigures(name=host, part_of=part_of, share=1 / len(hosts)) for host in hosts)


def lengths_of(values: array[int]) -> NumberFigures:
    """Of at least one value."""
    ascending = np.sort(np.frombuffer(values, np.int64))
    n = len(ascending)

    def at(p: float) -> int:
        return int(ascending[max(1, int(np.ceil(p * n))) - 1])

    return NumberFigures(
        n=n,
        mean=float(ascending.mean()),
        min=int(ascending[0]),
        p50=at(0.5),
        p90=at(0.9),
        p99=at(0.99),
        max=int(ascending[-1]),
    )


def _counted(
    options: ChatOptions,
    source: RequestSource,
    planned: tuple[Level, ...],
    levels: tuple[LevelFigures, ...],
    block_tokens: int,
) -> tuple[dict[str, _ModeStats], bool]:
    """(by system-prompt mode, what its levels send, whether that is all of it)."""
    modes: list[str] = list(dict.fromkeys(level.system_prompt for level in planned))
    stats = {mode: _ModeStats(PrefixHits(block_tokens)) for mode in modes}
    known = all(level.requests is not None or level.sessions is not None for level in levels)
    if not known:
        for mode in modes:
            for session, whole in _some(source.sessions(0, mode), SAMPLE_REQUESTS):
                stats[mode].add(session, is_whole=whole)
        return stats, False
    first, left = 0, MOST_REQUESTS
    for level in levels:
        found = stats[level.system_prompt]
        if options.cache.use is CacheUse.FLUSH:
            found.hits.flush()
        for session, whole in islice(
            _some(source.sessions(first, level.system_prompt), level.requests), level.sessions
        ):
            first += 1
            if level.warm_up:
                continue
            if left <= 0:
                return stats, False
            left -= len(session)
            found.add(session, is_whole=whole)
    return {mode: found for mode, found in stats.items() if found.sessions}, True


def _some(
    sessions: Iterator[list[PlannedRequest]], requests: int | None
) -> Iterator[tuple[list[PlannedRequest], bool]]:
    """The first sessions until so many requests, each with whether it has all of its own, as the last one may not;
    None: all sessions."""
    left = requests
    for session in sessions:
        if left is None:
            yield session, True
            continue
        if left <= 0:
            return
        yield session[:left], len(session) <= left
        left -= len(session)


def _is_group(key: object) -> bool:
    return isinstance(key, tuple) and key[0] == "group"


def _block_tokens(options: ChatOptions) -> tuple[int, str]:
    """(of the engine's prefix cache, a note where that is not known)."""
    engine = None if options.engine == AUTO else ENGINES[options.engine]
    if engine is not None and engine.prefix_block_tokens is not None:
        return engine.prefix_block_tokens, ""
    why = "no engine is given" if engine is None else f"it is not known how {engine.name} caches"
    return _DEFAULT_BLOCK_TOKENS, f"Cache hits assume blocks of {_DEFAULT_BLOCK_TOKENS} tokens, because {why}."


def _counting(workload: Workload) -> str:
    if isinstance(workload.prompts, SyntheticSource):
        return "requested"
    if isinstance(workload.prompts, TraceSource) or workload.prompts.stats.made:
        return "recorded"
    return "tokenizer" if workload.count_tokens else "estimate"


def _totals(
    stats: dict[str, _ModeStats], plan: RunPlan, levels: tuple[LevelFigures, ...], *, is_whole: bool
) -> TotalFigures:
    duration_s = planned_length_s(plan.levels, plan.load.settle_s)
    is_longest = any(level.ends_with_requests for level in plan.levels)
    measured = [level for level in levels if not level.warm_up]
    described = sum(len(found.input_tokens) for found in stats.values())
    inputs, outputs = (
        sum(sum(getattr(found, name)) for found in stats.values()) for name in ("input_tokens", "output_tokens")
    )
    if is_whole:
        sessions = sum(found.sessions for found in stats.values())
        return TotalFigures(
            duration_s=duration_s,
            is_longest=is_longest,
            requests=described,
            sessions=sessions,
            input_tokens=inputs,
            output_tokens=outputs,
        )
    per_session = described / max(1, sum(found.sessions for found in stats.values()))
    counts = [_requests_of(level, per_session) for level in measured]
    if any(count is None for count in counts):
        return TotalFigures(duration_s=duration_s, is_longest=is_longest)
    requests = sum(count or 0 for count in counts)
    return TotalFigures(
        duration_s=duration_s,
        is_longest=is_longest,
        requests=requests,
        sessions=round(requests / per_session),
        input_tokens=round(inputs / described * requests),
        output_tokens=round(outputs / described * requests),
        is_extrapolated=True,
    )


def _requests_of(level: LevelFigures, per_session: float) -> int | None:
    if level.requests is not None:
        return level.requests
    return None if level.sessions is None else round(level.sessions * per_session)


def _too_short(options: ChatOptions, workload: Workload, stats: dict[str, _ModeStats]) -> Iterator[TooShort]:
    """Input lengths that the system prompt and the prefix take, which are too many for a run to start."""
    lengths, prefix_tokens = options.lengths.plan.input, options.cache.prefix.tokens if options.cache.prefix else 0
    if lengths is None:
        return
    for mode in stats:
        system_tokens = system_prompt_tokens(workload) if mode == "on" else 0
        tokens = system_tokens + prefix_tokens
        if (share := lengths.share_at_most(tokens)) <= MOST_TOO_SHORT:
            continue
        least = prefix_tokens + (system_tokens if workload.count_tokens else int(_LEAST_OF_ESTIMATE * system_tokens))
        is_sure = lengths.share_at_most(least) > MOST_TOO_SHORT
        parts = [*(["the system prompt"] if system_tokens else []), *(["the prefix"] if prefix_tokens else [])]
        yield TooShort(
            f"{PROMPT[mode]}: {share * 100:.0f} % of the input lengths are at most {tokens:,} tokens, which "
            f"{' and '.join(parts)} take{'' if len(parts) > 1 else 's'}. This limit is estimated; in the run it is "
            "higher, as the chat template and the first word come on top. Give longer ones"
            f"{', or --system-prompt off' if system_tokens else ''}.",
            is_sure,
        )


def _notes(
    options: ChatOptions,
    workload: Workload,
    levels: tuple[LevelFigures, ...],
    stats: dict[str, _ModeStats],
    block_note: str,
    *,
    is_whole: bool,
) -> Iterator[str]:
    synthetic, counting = isinstance(workload.prompts, SyntheticSource), _counting(workload)
    counts = [len(found.input_tokens) for found in stats.values()]
    described = sum(counts)
    several = any(found.most_turns > 1 for found in stats.values())
    if any(level.requests is None and level.sessions is None for level in levels):
        each = len(counts) > 1 and len(set(counts)) == 1
        number = f"{counts[0]:,} of each system-prompt mode" if each else f"{described:,}"
        yield (
            f"How many requests a closed loop sends depends on the server: the table is of the first {number}, and "
            "there are no totals. --requests sets a number."
        )
    elif not is_whole:
        yield f"The first {described:,} requests are described; totals are these in proportion."
    if counting == "estimate":
        yield "Tokens of prompts are estimated: give --tokenizer to have them counted."
    if counting in ("estimate", "tokenizer") or (synthetic and several):
        what = "later turns" if synthetic else "prompts"
        yield f"Tokens of the chat template are left out of {what}: the server adds some to each message."
    if not all(found.exact == len(found.input_tokens) for found in stats.values()):
        yield ("Output tokens are the limit; answers can be shorter. --output-tokens and --ignore-eos make them exact.")
    if any(found.hits.most for found in stats.values()):
        yield (
            "Cache hits assume an unlimited cache and requests sent one at a time. 'At least' counts prompts only; 'at "
            "most' also counts the answers of earlier turns."
        )
    if block_note and any(found.hits.most for found in stats.values()):
        yield block_note
    if options.abandonment is not None and options.abandonment.after_s is not None:
        yield "Of the requests that users are to leave after a time, those that end before are not abandoned."

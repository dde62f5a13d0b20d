"""What defines a run, as its page tells it: the facts of run.json, and the command line that asks the same again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from metrics.stage import PROMPT
from reports import units
from reports.page import Block, Code, Facts, Table, Text
from reports.results import Results

#: Of a run's options, those that say where it writes to and whom it tells: not what it does.
_WHERE = {"results", "metrics_host", "metrics_port", "metrics_linger", "cluster", "junit", "markdown", "spool_folder"}
#: Options of the ladder, which exclude -u, -r and -t.
_LADDER = {"shape", "levels", "ramp", "level_time"}


def definition(results: Results) -> list[Block]:
    """Everything that defines the run, and the command that repeats it."""
    run, summary = results.run, results.summary
    server = run.server_metrics
    facts = [
        ("started", units.moment(run.started_at)),
        ("ended", units.moment(run.ended_at) if run.ended_at else ""),
        ("host", f"{summary.host or ''}{' (the embedded simulator)' if run.embedded_simulator else ''}"),
        ("engine", " ".join(filter(None, (summary.engine, run.engine_version)))),
        ("gateway", run.gateway or ""),
        ("known by", "; ".join(run.engine_evidence)),
        ("model", summary.model or ""),
        ("chat template", run.chat_template or "the server's own"),
        ("waited for the server", units.duration(run.cold_start_s) if run.cold_start_s else ""),
        *(
            (f"prompts: {name.replace('_', ' ')}", str(value))
            for name, value in run.prompts.items()
            if value is not None
        ),
        ("server's own metrics", str(server.get("source") or server.get("note") or "")),
        ("GPU metrics", str(server.get("gpu_source") or "")),
        ("worker processes", "" if run.workers is None else units.count(run.workers)),
        ("Tokenswarm", run.tokenswarm_version),
        ("Python", run.python),
        ("platform", run.platform),
    ]
    plan = [
        [
            f"{stage.level} users {PROMPT[stage.system_prompt]}",
            units.planned_time(stage.ramp_s),
            "open" if stage.level_time_s is None else units.planned_time(stage.level_time_s),
        ]
        for stage in run.plan
    ]
    blocks: list[Block] = [Facts([(name, value) for name, value in facts if value])]
    if plan:
        blocks.append(Table("The plan", ["level", "ramp", "whole time, ramp included"], plan))
    if run.options:
        blocks += [
            Text("The same again (an API key, where there was one, is in LLM_API_KEY):"),
            Code(command_of(results)),
        ]
    return blocks


def command_of(results: Results) -> str:
    """The command line that asks the same of the same server. Where it writes to is left to its defaults."""
    run = results.run
    # The embedded simulator is gone with its run: a new one starts where no host is given.
    host = [] if run.embedded_simulator else ["-H", results.summary.host or "HOST"]
    words = ["locust", "--headless", *host]
    if run.shape == "free" and run.plan:
        words += _free_words(results)
    for name, value in run.options.items():
        if name in _WHERE or value in (None, "", False) or (run.shape == "free" and name in _LADDER):
            continue
        if name == "prompt_nonce" and run.prompts.get("nonce_source") == "drawn":
            continue  # another run draws its own: this one's would send what a cache may hold
        option = "--" + name.replace("_", "-")
        words += [option] if value is True else [option, str(value)]
    return " ".join(map(shlex.quote, words))


def _free_words(results: Results) -> Iterator[str]:
    stage = results.run.plan[0]
    yield from ("-u", str(stage.users))
    if stage.ramp_s:
        yield from ("-r", f"{stage.users / stage.ramp_s:g}")
    if stage.level_time_s is not None:
        yield from ("-t", f"{stage.level_time_s:g}s")

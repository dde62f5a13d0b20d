"""Writes dashboards/tokenswarm.json, the dashboard that Grafana is provisioned with.

    python deploy/grafana/dashboard.py

A panel is a line or two here and sixty in JSON. tests/deploy/test_dashboard.py holds the file to this script.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parent / "dashboards" / "tokenswarm.json"

# A variable of the dashboard's, so that it can be imported where the data source has another name.
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
DEFAULT_DATASOURCE = {"text": "Prometheus", "value": "tokenswarm-prometheus"}
VARIABLES = ("engine", "model", "system_prompt", "level")
CHOSEN = ",".join(f'{name}=~"${name}"' for name in VARIABLES)
SERVED = ",".join(f'{name}=~"${name}"' for name in VARIABLES[:2])  # the server knows nothing of levels
EVERY = "[$__rate_interval]"
ROW_WIDTH = 24
HEIGHT = 8
STAT_HEIGHT = 4

Json = dict[str, Any]


def rate(series: str, where: str = CHOSEN, by: str = "") -> str:
    """A counter's rate, over all workers and levels that are chosen."""
    return f"sum{f' by ({by})' if by else ''} (rate({series}{f'{{{where}}}' if where else ''}{EVERY}))"


def quantile(p: float, histogram: str, where: str = CHOSEN, by: str = "") -> str:
    """A percentile of what was observed in the last interval."""
    return f"histogram_quantile({p}, {rate(f'{histogram}_bucket', where, f'le, {by}' if by else 'le')})"


def slow_rates(histogram: str) -> dict[str, str]:
    """The slow end of a rate, which is its low one, and its median."""
    return {f"p{p * 100:.0f}": quantile(p, histogram) for p in (0.05, 0.1, 0.5)}


def quantiles(histogram: str) -> dict[str, str]:
    """The three percentiles that the reports give, by their names."""
    return {f"p{p * 100:.0f}": quantile(p, histogram) for p in (0.5, 0.95, 0.99)}


def panel(kind: str, title: str, text: str, unit: str, expressions: dict[str, str], width: int, **how: Any) -> Json:
    """One panel; `expressions` by the name that their series have in its legend."""
    return {
        "type": kind,
        "title": title,
        "description": text,
        "datasource": DATASOURCE,
        "gridPos": {"w": width, "h": STAT_HEIGHT if kind == "stat" else HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit, **how.pop("defaults", {})}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + number), "datasource": DATASOURCE, "expr": expr, "legendFormat": name}
            | how.get("target", {})
            for number, (name, expr) in enumerate(expressions.items())
        ],
        "options": how.get("options", {}),
    }


def stat(
    title: str, text: str, expression: str, unit: str = "short", warn_above: float | None = None, **names: str
) -> Json:
    """A number of now, red above `warn_above`. `names`: words in place of numbers, as _0="no"."""
    steps: list[Json] = [{"color": "text" if warn_above is None else "green", "value": None}]
    if warn_above is not None:
        steps.append({"color": "red", "value": warn_above})
    words = {number.removeprefix("_"): {"text": word} for number, word in names.items()}
    return panel(
        "stat",
        title,
        text,
        unit,
        {title: expression},
        width=4,
        defaults={
            "thresholds": {"mode": "absolute", "steps": steps},
            "mappings": [{"type": "value", "options": words}] if words else [],
        },
        options={"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "none"},
    )


def lines(title: str, text: str, unit: str, expressions: dict[str, str], width: int = 8, stacked: bool = False) -> Json:
    """Curves over time."""
    return panel(
        "timeseries",
        title,
        text,
        unit,
        expressions,
        width,
        defaults={
            "min": 0,
            "custom": {
                "lineWidth": 2,
                "fillOpacity": 40 if stacked else 0,
                "showPoints": "never",
                "stacking": {"mode": "normal" if stacked else "none"},
            },
        },
        options={
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    )


def heat_map(title: str, text: str, unit: str, histogram: str, width: int) -> Json:
    """A histogram over time: the buckets as rows, the observations of each interval as colour."""
    return panel(
        "heatmap",
        title,
        text,
        unit,
        {"{{le}}": f"sum by (le) (increase({histogram}_bucket{{{CHOSEN}}}{EVERY}))"},
        width,
        target={"format": "heatmap"},
        options={
            "calculate": False,
            "cellGap": 1,
            "color": {"mode": "scheme", "scheme": "Oranges", "scale": "exponential", "exponent": 0.5, "steps": 64},
            "filterValues": {"le": 1e-9},
            "legend": {"show": True},
            "tooltip": {"mode": "single", "yHistogram": True},
            "yAxis": {"axisPlacement": "left", "unit": unit},
        },
    )


TTFT = "tokenswarm_time_to_first_token_seconds"
VLLM_HITS = "sum (rate(vllm:prefix_cache_hits_total[$__rate_interval]))"
VLLM_QUERIES = "sum (rate(vllm:prefix_cache_queries_total[$__rate_interval]))"

ROWS: dict[str, list[Json]] = {
    "The run": [
        stat("Users", "Running now.", "sum (tokenswarm_users)"),
        stat("In flight", "Requests sent and not ended.", "sum (tokenswarm_requests_in_flight)"),
        stat(
            "Failures",
            "Share of the requests that ended in the last interval; requests cut by the run are not counted.",
            f'sum (rate(tokenswarm_requests_total{{{CHOSEN},outcome!~"ok|cut|abandoned|refused_by_limit"}}{EVERY}))'
            f' / sum (rate(tokenswarm_requests_total{{{CHOSEN},outcome!="cut"}}{EVERY}))',
            unit="percentunit",
            warn_above=0.05,
        ),
        stat("Workers", "Connected to the master.", "sum (tokenswarm_workers)"),
        stat("Workers missing", "Lost during the run.", "sum (tokenswarm_workers_missing)", warn_above=1),
        stat(
            "Verdict",
            "Suspect: the load generator may have distorted the results. run.json and the summary give the reasons.",
            "max (tokenswarm_suspect)",
            warn_above=1,
            _0="valid",
            _1="suspect",
        ),
        lines(
            "Alerts",
            "Of deploy/prometheus/rules.yml: firing and pending.",
            "short",
            {"{{alertname}}, {{alertstate}}": 'sum by (alertname, alertstate) (ALERTS{alertname=~"Tokenswarm.+"})'},
            width=24,
        ),
    ],
    "Time to first token": [
        heat_map("TTFT", "Requests by their time to first token; vLLM's own buckets.", "s", TTFT, width=12),
        lines("TTFT, percentiles", "Interpolated within their bucket.", "s", quantiles(TTFT), width=12),
    ],
    "Tokens": [
        lines(
            "Token rate",
            "All users together. A request's tokens are counted when it ends; events with output as they arrive, most "
            "often one a token.",
            "short",
            {
                "tokens/s of requests that ended": rate("tokenswarm_output_tokens_total"),
                "events/s as they arrive": rate("tokenswarm_output_events_total", where=""),
            },
            width=12,
        ),
        lines(
            "Token rate of one user",
            "1 / TPOT, percentiles over requests.",
            "short",
            slow_rates("tokenswarm_request_token_rate"),
            width=12,
        ),
        lines(
            "Time per output token",
            "TPOT = (last - first) / (n - tokens of the first event), percentiles over requests.",
            "s",
            quantiles("tokenswarm_time_per_output_token_seconds"),
        ),
        lines(
            "Gaps",
            "Time between successive arrivals of output, percentiles over gaps.",
            "s",
            quantiles("tokenswarm_inter_token_gap_seconds"),
        ),
        lines(
            "End to end",
            "From sending to the last output, percentiles over requests.",
            "s",
            quantiles("tokenswarm_e2e_latency_seconds"),
        ),
    ],
    "Requests": [
        lines(
            "Users and requests in flight",
            "",
            "short",
            {"users": "sum (tokenswarm_users)", "in flight": "sum (tokenswarm_requests_in_flight)"},
        ),
        lines(
            "Offered, sent and completed",
            "Offered: due by the schedule of an open loop; completed: ended ok. Over the last 5 seconds reported.",
            "reqps",
            {name: f"sum (tokenswarm_{name}_request_rate)" for name in ("offered", "sent", "completed")},
        ),
        lines(
            "Request rate",
            "Requests that ended, by level.",
            "reqps",
            {
                "level {{level}}, system prompt {{system_prompt}}": rate(
                    "tokenswarm_requests_total", by="level, system_prompt"
                )
            },
        ),
        lines(
            "Not ok",
            "By outcome; docs/metrics.md defines each. cut (the run ended it), abandoned (its user left) and "
            "refused_by_limit are no failures.",
            "reqps",
            {"{{outcome}}": rate("tokenswarm_requests_total", f'{CHOSEN},outcome!="ok"', by="outcome")},
            stacked=True,
        ),
    ],
    "Sessions": [
        lines(
            "Sessions begun and ended",
            "Begun: the first request has ended. Failed: a request of the session failed; abandoned: its user left.",
            "short",
            {
                "begun/s": rate("tokenswarm_sessions_started_total"),
                "{{ending}}/s": rate("tokenswarm_sessions_total", by="ending"),
            },
        ),
        lines(
            "Turns of a session",
            "Mean, of sessions that completed in the last interval.",
            "short",
            {
                "turns": f"{rate('tokenswarm_session_turns_total')} / "
                + rate("tokenswarm_sessions_total", f'{CHOSEN},ending="completed"'),
            },
        ),
        lines(
            "Session duration",
            "From the first request to the end of the last one, think times included; percentiles of completed ones.",
            "s",
            quantiles("tokenswarm_session_duration_seconds"),
        ),
    ],
    "Abandoned requests": [
        lines(
            "Abandoned",
            "Requests whose users left before the response ended.",
            "reqps",
            {"abandoned": rate("tokenswarm_requests_total", f'{CHOSEN},outcome="abandoned"')},
        ),
        lines(
            "Server time after the user left",
            "How long the server went on with each, mean of a level's hold; known once the level is over.",
            "s",
            {
                "level {{level}}, system prompt {{system_prompt}}": (
                    f"max by (level, system_prompt) (tokenswarm_abandoned_server_seconds{{{CHOSEN}}})"
                )
            },
        ),
        lines(
            "Tokens that nobody read",
            "Generated by the server in a level's hold, and not received here; known once the level is over.",
            "short",
            {
                "level {{level}}, system prompt {{system_prompt}}": (
                    f"max by (level, system_prompt) (tokenswarm_abandoned_server_tokens{{{CHOSEN}}})"
                )
            },
        ),
    ],
    "Client health": [
        lines(
            "Client delay",
            "Time of a read - the kernel's receive time: what a client without kernel times would add to its results.",
            "s",
            quantiles("tokenswarm_client_delay_seconds"),
        ),
        lines(
            "Event-loop lag, p99",
            "By how much a short sleep overshoots on each worker.",
            "s",
            {"worker {{worker}}": quantile(0.99, "tokenswarm_loop_lag_seconds", where="", by="worker")},
        ),
        lines(
            "Worker CPU",
            "Of one core. Near 1, a worker is overloaded: start more workers.",
            "percentunit",
            {"worker {{worker}}": "tokenswarm_worker_cpu_utilization"},
        ),
    ],
    "Server-side metrics": [
        lines(
            "Requests at the server",
            "Scraped by Tokenswarm, or by Prometheus from vLLM.",
            "short",
            {
                "running": f"sum (tokenswarm_server_requests_running{{{SERVED}}})",
                "waiting": f"sum (tokenswarm_server_requests_waiting{{{SERVED}}})",
                "running (vLLM)": "sum (vllm:num_requests_running)",
                "waiting (vLLM)": "sum (vllm:num_requests_waiting)",
            },
        ),
        lines(
            "Caches and GPU",
            "",
            "percentunit",
            {
                "KV cache": f"max (tokenswarm_server_kv_cache_utilization{{{SERVED}}})",
                "prefix cache hits": f"max (tokenswarm_server_prefix_cache_hit_ratio{{{SERVED}}})",
                "GPU": f"max (tokenswarm_server_gpu_utilization{{{SERVED}}})",
                "KV cache (vLLM)": "max (vllm:kv_cache_usage_perc)",
                "prefix cache hits (vLLM)": f"{VLLM_HITS} / {VLLM_QUERIES}",
            },
        ),
        lines(
            "TTFT, p50: client and server",
            "The difference is spent in network, gateway and HTTP.",
            "s",
            {
                "at the client": quantile(0.5, TTFT),
                "at the server (vLLM)": quantile(0.5, "vllm:time_to_first_token_seconds", where=""),
            },
        ),
        lines(
            "Output tokens: client and server",
            "The server counts a token when it is made, the client when its request ends.",
            "short",
            {
                "client": rate("tokenswarm_output_tokens_total"),
                "server": rate("tokenswarm_server_output_tokens_total", where=SERVED),
                "server (vLLM)": rate("vllm:generation_tokens_total", where=""),
            },
            width=24,
        ),
    ],
}


def placed(rows: dict[str, list[Json]]) -> Iterator[Json]:
    """Every panel under its row's title, left to right, with an id and a place."""
    number = y = 0
    for title, panels in rows.items():
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "gridPos": {"x": 0, "y": y, "w": ROW_WIDTH, "h": 1},
            "panels": [],
        }
        x, y, height = 0, y + 1, 0
        for each in panels:
            number += 1
            size = each["gridPos"]
            if x + size["w"] > ROW_WIDTH:
                x, y = 0, y + height
            yield each | {"id": number, "gridPos": {"x": x, "y": y, **size}}
            x, height = x + size["w"], size["h"]
        y += height


def variable(name: str) -> Json:
    """Which values of a label to look at: any number of them, at first all."""
    query = f"label_values(tokenswarm_requests_total, {name})"
    return {
        "type": "query",
        "name": name,
        "label": name.replace("_", " "),
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"qryType": 1, "query": query, "refId": name},
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": ["All"], "value": ["$__all"]},
        "refresh": 2,
        "sort": 3,
    }


def dashboard() -> Json:
    """The whole dashboard, as Grafana's JSON model has it."""
    datasource = {"type": "datasource", "name": "datasource", "query": "prometheus", "current": DEFAULT_DATASOURCE}
    return {
        "uid": "tokenswarm",
        "title": "Tokenswarm",
        "tags": ["tokenswarm", "llm"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "time": {"from": "now-15m", "to": "now"},
        "refresh": "5s",
        "templating": {"list": [datasource, *map(variable, VARIABLES)]},
        "panels": list(placed(ROWS)),
    }


def text() -> str:
    """What the file holds."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")

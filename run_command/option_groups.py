"""The options of a run by what they are for: how `tokenswarm run --help` shows them."""

from __future__ import annotations

from typing import NamedTuple


class OptionGroup(NamedTuple):
    """Options for one purpose, in the order in which they are shown."""

    title: str
    flags: tuple[str, ...]


GROUPS = (
    OptionGroup(
        "The server",
        (
            *("--host", "--engine", "--model", "--models", "--endpoint", "--path", "--chat-template", "--header"),
            *("--header-file", "--tls-ca", "--tls-insecure", "--client-cert", "--client-key", "--proxy"),
            *("--ready-timeout", "--preflight"),
        ),
    ),
    OptionGroup(
        "The load: users, each of whom waits for an answer (closed loop)",
        (
            *("--levels", "--ramp", "--level-time", "--system-prompt", "--think-time", "--wait-after-failure"),
            *("--honour-retry-after", "--random-start", "--users", "--spawn-rate", "--run-time", "--shape"),
        ),
    ),
    OptionGroup(
        "The load: requests at a rate, whether or not earlier ones have ended (open loop)",
        (
            *("--rate", "--session-rate", "--arrivals", "--burstiness", "--rate-schedule", "--max-in-flight"),
            *("--trace", "--trace-format", "--trace-speed", "--trace-rate", "--trace-window", "--trace-sample"),
            *("--trace-spread", "--trace-skip-bad"),
        ),
    ),
    OptionGroup("The highest load within the SLO", ("--find-capacity", "--between", "--precision")),
    OptionGroup("Levels of either loop", ("--warm-up", "--requests", "--settle", "--drain-timeout")),
    OptionGroup(
        "Prompts, lengths and caches",
        (
            *("--prompts", "--prompts-column", "--prompt-tokens", "--input-tokens", "--output-tokens", "--max-tokens"),
            *("--ignore-eos", "--system-prompt-file", "--prefix", "--cache", "--prompt-reuse", "--prompt-nonce"),
            *("--tokenizer", "--image", "--seed"),
        ),
    ),
    OptionGroup(
        "Conversations and abandoned requests",
        (
            "--turns",
            "--answers",
            "--session-supply",
            "--longest-delay",
            "--session-header",
            "--abandon",
        ),
    ),
    OptionGroup(
        "Fields of the requests",
        (
            *("--body", "--body-file", "--max-tokens-field", "--temperature", "--top-p", "--top-k"),
            *("--presence-penalty", "--frequency-penalty", "--request-seed", "--stop", "--fold-system-prompt"),
            "--traceparent",
        ),
    ),
    OptionGroup(
        "Time limits and timing",
        (
            *("--connect-timeout", "--first-token-timeout", "--idle-timeout", "--request-timeout"),
            *("--token-times", "--stamps", "--self-check"),
        ),
    ),
    OptionGroup(
        "Objectives, conditions and results",
        (
            *("--slo", "--slo-share", "--fail-if", "--pass-if", "--stop-after-failures", "--results"),
            *("--local-results", "--name", "--tag", "--junit", "--markdown", "--print-summary", "--open", "--record"),
            *("--spool-folder", "--gpus", "--gpu-name", "--gpu-price"),
        ),
    ),
    OptionGroup(
        "Metrics of the server, and for Prometheus",
        ("--server-metrics", "--gpu-metrics-url", "--metrics-host", "--metrics-port", "--metrics-linger"),
    ),
    OptionGroup(
        "Processes and machines",
        (
            *("--processes", "--master", "--master-bind-host", "--master-bind-port", "--expect-workers"),
            *("--expect-workers-max-wait", "--worker", "--master-host", "--master-port", "--cluster"),
            "--cluster-key-file",
        ),
    ),
    OptionGroup("Locust", ("--stop-timeout", "--exit-code-on-error", "--loglevel", "--logfile", "--csv", "--html")),
)
PAGE = OptionGroup(
    "The page, which tokenswarm web serves",
    (
        *("--web-host", "--web-port", "--web-base-path", "--web-login", "--web-user", "--web-password-file"),
        *("--web-open", "--web-allow-host", "--web-allow-target", "--web-allow-folder", "--tls-cert", "--tls-key"),
        *("--autostart", "--autoquit"),
    ),
)

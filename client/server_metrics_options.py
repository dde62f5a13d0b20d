"""The options of server-side metrics."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass

from tokenswarm.client.option_values import page_address
from tokenswarm.command_line import OptionAdder, collect_errors
from tokenswarm.wire import Origin


@dataclass(frozen=True, slots=True)
class ServerMetricsOptions:
    """Where to read server-side metrics: `page`, or with `auto` the page of the server's engine. `gpu_page` is that of
    a DCGM exporter."""

    auto: bool
    page: Origin | None
    gpu_page: Origin | None

    @classmethod
    def of(cls, options: Namespace) -> ServerMetricsOptions:
        """Check and convert. Raises OptionError."""
        with collect_errors() as errors:
            return cls(
                auto=options.server_metrics == "auto",
                page=errors.of(page_address, "--server-metrics", options.server_metrics, "auto", "off"),
                gpu_page=errors.of(page_address, "--gpu-metrics-url", options.gpu_metrics_url, ""),
            )


def add_metrics_options(option: OptionAdder) -> None:
    """Add the options to Locust's parser."""
    option(
        "--server-metrics",
        "server metrics endpoint (queue, cache, server-side TTFT), read every 5 s, or five times in a hold of less "
        "than 25 s: auto (the engine's own page on --host), off, or a URL",
        default="auto",
        metavar="auto|off|URL",
    )
    option(
        "--gpu-metrics-url",
        "URL of a DCGM exporter on the server's machine, for GPU utilization; empty: none",
        metavar="URL",
    )

"""The parser of a run's options: Locust's own with Tokenswarm's."""

from __future__ import annotations

from typing import Any

from locust.argument_parser import get_empty_argument_parser, setup_parser_arguments

import tokenswarm.client.request_options
import tokenswarm.recording.recording_options
import tokenswarm.reports.checks.check_options
import tokenswarm.shapes.shape_options
import tokenswarm.web.web_options


def add_run_options(parser: Any) -> None:
    """Give Locust's parser Tokenswarm's options."""
    tokenswarm.client.request_options.add_options(parser)
    tokenswarm.shapes.shape_options.add_options(parser)
    tokenswarm.recording.recording_options.add_options(parser)
    tokenswarm.reports.checks.check_options.add_options(parser)
    tokenswarm.web.web_options.add_options(parser)
    # A line each five seconds instead of Locust's table each two; and a page for this machine alone.
    parser.set_defaults(only_summary=True, web_host="127.0.0.1")


def run_parser() -> Any:
    """The parser of `locust` with Tokenswarm's locustfile, which reads variables and configuration files too."""
    parser = get_empty_argument_parser()
    setup_parser_arguments(parser)  # type: ignore[no-untyped-call]
    add_run_options(parser)
    return parser

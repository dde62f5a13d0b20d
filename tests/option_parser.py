"""Locust's parser with every option of Tokenswarm."""

from __future__ import annotations

from argparse import ArgumentParser

from locust.argument_parser import get_empty_argument_parser, setup_parser_arguments

import tokenswarm.client.request_options
import tokenswarm.recording.recording_options
import tokenswarm.reports.checks.check_options
import tokenswarm.shapes.shape_options
import tokenswarm.web.web_options


def parser_of_all_options() -> ArgumentParser:
    """Without options that a locustfile imported by another test adds."""
    parser = get_empty_argument_parser(default_config_files=[])
    setup_parser_arguments(parser)
    for package in (
        tokenswarm.client.request_options,
        tokenswarm.shapes.shape_options,
        tokenswarm.recording.recording_options,
        tokenswarm.reports.checks.check_options,
        tokenswarm.web.web_options,
    ):
        package.add_options(parser)
    return parser

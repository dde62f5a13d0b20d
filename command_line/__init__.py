"""How options are given: which were given at all, unknown ones, all errors at once, and the ports to listen on."""

from tokenswarm.command_line.argument_reader import PERCENTILE, Argument, ArgumentReader
from tokenswarm.command_line.locust_command_line import CommandLine, refuse, show_refusal, variable_warnings
from tokenswarm.command_line.option_adder import OptionAdder, PlainArguments, variable_of
from tokenswarm.command_line.option_errors import Collected, OptionErrors, collect_errors, sentences_of
from tokenswarm.command_line.parser import (
    Given,
    did_you_mean,
    listed,
    misspelled_variables,
    nearest_names,
    nearest_options,
    not_one_of,
    option_defaults,
    read_options,
    tolerant,
    unexpected_words,
    unknown_option,
)
from tokenswarm.command_line.pointed_error import PointedError
from tokenswarm.command_line.ports import first_free_port, free_port, or_who_has_it, why_no_address, why_not_free
from tokenswarm.command_line.timespans import TimespanError, parse_timespan, timespan_text
from tokenswarm.command_line.token_reader import TokenReader

__all__ = [
    "PERCENTILE",
    "Argument",
    "ArgumentReader",
    "Collected",
    "CommandLine",
    "Given",
    "OptionAdder",
    "OptionErrors",
    "PlainArguments",
    "PointedError",
    "TimespanError",
    "TokenReader",
    "collect_errors",
    "did_you_mean",
    "first_free_port",
    "free_port",
    "listed",
    "misspelled_variables",
    "nearest_names",
    "nearest_options",
    "not_one_of",
    "option_defaults",
    "or_who_has_it",
    "parse_timespan",
    "read_options",
    "refuse",
    "sentences_of",
    "show_refusal",
    "timespan_text",
    "tolerant",
    "unexpected_words",
    "unknown_option",
    "variable_of",
    "variable_warnings",
    "why_no_address",
    "why_not_free",
]

if __name__ != "tokenswarm.command_line":
    raise __import__("tokenswarm").bare_import(__name__)

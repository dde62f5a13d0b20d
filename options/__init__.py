"""How options are given: which were given at all, unknown ones, all errors at once, and the ports to listen on."""

from options.command_line import CommandLine, refuse
from options.errors import Collected, OptionErrors, collect_errors, sentences_of
from options.parser import Given, misspelled_variables, nearest_options, read_options, unknown_option
from options.ports import first_free_port, free_port, why_not_free

__all__ = [
    "Collected",
    "CommandLine",
    "Given",
    "OptionErrors",
    "collect_errors",
    "first_free_port",
    "free_port",
    "misspelled_variables",
    "nearest_options",
    "read_options",
    "refuse",
    "sentences_of",
    "unknown_option",
    "why_not_free",
]

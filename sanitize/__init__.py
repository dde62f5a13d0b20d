"""What keeps secrets, control characters and unbounded input out of records and outputs. Imports no other package."""

from sanitize.files import MissingFile, UnusableFile, check_file, is_nested_deeper, read_file, read_text
from sanitize.outputs import guard_output, guarded_output
from sanitize.process import (
    API_KEY_VARIABLE,
    cell,
    hide,
    secrets_of,
    server_text,
    shown,
    shown_values,
    without_secrets,
)
from sanitize.redactor import MARK, Redactor
from sanitize.text import guarded, shortened, unguarded, visible

__all__ = [
    "API_KEY_VARIABLE",
    "MARK",
    "MissingFile",
    "Redactor",
    "UnusableFile",
    "cell",
    "check_file",
    "guard_output",
    "guarded",
    "guarded_output",
    "hide",
    "is_nested_deeper",
    "read_file",
    "read_text",
    "secrets_of",
    "server_text",
    "shortened",
    "shown",
    "shown_values",
    "unguarded",
    "visible",
    "without_secrets",
]

"""What keeps secrets, control characters and unbounded input out of records and outputs. Imports no other package."""

from tokenswarm.sanitize.files import MissingFile, UnusableFile, check_file, is_nested_deeper, read_file, read_text
from tokenswarm.sanitize.json_errors import json_error_text
from tokenswarm.sanitize.key_advice import (
    BASIC_CHALLENGE,
    FORBIDDEN,
    NO_KEY,
    SENT_WITH,
    UNAUTHORIZED,
    SentKey,
    key_advice,
    withheld_advice,
)
from tokenswarm.sanitize.outputs import discard, guard_output, guarded_output, is_output_lost, report_lost_output
from tokenswarm.sanitize.process import (
    API_KEY_VARIABLE,
    cell,
    hide,
    is_secret_name,
    secrets_of,
    server_text,
    shown,
    shown_values,
    without_secrets,
)
from tokenswarm.sanitize.process_title import overwrite_argument
from tokenswarm.sanitize.redactor import MARK, Redactor
from tokenswarm.sanitize.text import full_stop, guarded, shortened, unguarded, visible

__all__ = [
    "API_KEY_VARIABLE",
    "BASIC_CHALLENGE",
    "FORBIDDEN",
    "MARK",
    "NO_KEY",
    "SENT_WITH",
    "UNAUTHORIZED",
    "MissingFile",
    "Redactor",
    "SentKey",
    "UnusableFile",
    "cell",
    "check_file",
    "discard",
    "full_stop",
    "guard_output",
    "guarded",
    "guarded_output",
    "hide",
    "is_nested_deeper",
    "is_output_lost",
    "is_secret_name",
    "json_error_text",
    "key_advice",
    "overwrite_argument",
    "read_file",
    "read_text",
    "report_lost_output",
    "secrets_of",
    "server_text",
    "shortened",
    "shown",
    "shown_values",
    "unguarded",
    "visible",
    "withheld_advice",
    "without_secrets",
]

if __name__ != "tokenswarm.sanitize":
    raise __import__("tokenswarm").bare_import(__name__)

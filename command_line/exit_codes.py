"""Every exit code, and what it means. docs/exit-codes.md has the same rows; tests/test_docs.py compares them."""

from __future__ import annotations

EXIT_OK = 0
EXIT_REQUESTS_FAILED = 1
EXIT_UNUSABLE = 2
EXIT_UNRELIABLE = 3
EXIT_INTERRUPTED = 4
EXIT_CONDITION_FAILED = 5
#: In place of 0: the folder on this machine is complete, and its copy is not.
EXIT_NOT_UPLOADED = 6
#: Of a `tokenswarm` subcommand that Ctrl-C ended, as of any program that SIGINT ends.
EXIT_SIGINT = 130

MEANINGS = {
    EXIT_OK: "all levels were run; no request failed, or only as many as `--fail-if` allows. "
    "A suspect run also ends with 0, unless `--fail-if` or `--pass-if` is given",
    EXIT_REQUESTS_FAILED: "requests failed, also those of other users beside the streaming ones, such as an "
    "`HttpUser`; or code of the locustfile raised errors: tasks, constructors of users, "
    "their `on_start` and `on_stop`, or listeners of events (`--exit-code-on-error` sets another code); or Locust "
    "could not start, for example without a locustfile",
    EXIT_UNUSABLE: "an option, the prompts, the server or the locustfile cannot be used; a sentence for "
    "each error says what to do. Also: no master answered a worker for 5 minutes; Tokenswarm has an internal error; "
    "or the output of a `tokenswarm` command that had no other error could not be written "
    "(a run keeps its code, because its files are complete)",
    EXIT_UNRELIABLE: "the results are unreliable: nothing was recorded, no request was answered, requests "
    "are unaccounted for, a worker was lost, or all of the last 50 requests failed "
    "(`--stop-after-failures`). With `--fail-if` or `--pass-if` also: the run is suspect,"
    " or too short to decide a condition",
    EXIT_INTERRUPTED: "the run was stopped before all levels were over; one without an end, before its hold had a "
    "request",
    EXIT_CONDITION_FAILED: "a condition of `--fail-if` is true, or one of `--pass-if` is false. "
    "`tokenswarm trend --fail-if-worse`: the newest run is significantly worse than the baseline",
    EXIT_NOT_UPLOADED: "the run would have ended with 0, but its results could not be uploaded to the URL of "
    "`--results`; the folder on this machine is complete, and a message names it. A run that "
    "would have ended with another code keeps that code, and only the message says that the upload failed. "
    "`tokenswarm report --to otlp` or `--to mlflow`: the service could not be reached, or did not accept all of "
    "the run",
    EXIT_SIGINT: "a `tokenswarm` command was ended with Ctrl-C. Not so a run and a sweep, which end with 4, and "
    "`tokenswarm simulate`, a server, which ends with 0",
}
#: The same for the end of a run, in a few words.
IN_SHORT = {
    EXIT_REQUESTS_FAILED: "requests failed, or code of the locustfile raised errors",
    EXIT_UNUSABLE: "an option could not be used, or an error occurred outside of a request; see above",
    EXIT_UNRELIABLE: "the results are unreliable",
    EXIT_INTERRUPTED: "the run was stopped before all levels were over",
    EXIT_CONDITION_FAILED: "a condition of --fail-if or --pass-if failed",
    EXIT_NOT_UPLOADED: "the results could not be uploaded; see above",
}
INTERRUPTED_EARLY = "tokenswarm: interrupted before the run began: nothing was measured"

"""`tokenswarm kube run|logs|results|delete`: a run as one Job in a Kubernetes cluster."""

from __future__ import annotations

import argparse
import os
import re
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from tokenswarm.command_line import parse_timespan
from tokenswarm.command_line.command_parser import CommandParser
from tokenswarm.kube.cluster_api import ClusterApi, KubeError
from tokenswarm.kube.collection import collect
from tokenswarm.kube.follow import KubeOutcome, MasterLog, RunFollower
from tokenswarm.kube.manifests import API_KEY, CLUSTER_KEY, KubeRun, manifests, secret, selector_of
from tokenswarm.kube.pod_state import ClusterRunState, state_of
from tokenswarm.reports import units
from tokenswarm.reports.command_errors import ended
from tokenswarm.reports.output import show
from tokenswarm.sanitize import API_KEY_VARIABLE, hide, shown

#: A Job's name and its index make the names of pods, which have 63 characters at most.
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,48}[a-z0-9])?")
#: Of `tokenswarm run`, and set by this command itself.
_OWN_OPTIONS = frozenset(
    ("--master", "--worker", "--master-host", "--master-port", "--processes", "--expect-workers", "--headless", "-f")
)


def run(words: Sequence[str]) -> int:
    """Do what these words say. Returns the exit code: that of the run; 2 with a sentence for each error."""
    parser, own = parser_of(words)
    if not words or words[0] not in _ACTIONS:
        parser.parse_args(own)  # ends the process
    args, unknown = parser.parse_known_args(own)
    if errors := [*parser.errors, *parser.unknown(unknown)]:
        parser.refuse(errors)
    act = _ACTIONS[words[0]][1]
    return ended(f"kube {words[0]}", lambda: act(args, _run_options(words)))


def parser_of(words: Sequence[str]) -> tuple[CommandParser, list[str]]:
    """The parser of what these words say, and the words that it is for: those before `--`."""
    action = next(iter(words), "")
    if action not in _ACTIONS:
        parser = CommandParser(prog="tokenswarm kube", description=__doc__)
        actions = parser.add_subparsers(dest="command", required=True, metavar="ACTION", parser_class=CommandParser)
        for name, (text, _) in _ACTIONS.items():
            actions.add_parser(name, help=text)
        return parser, list(words)
    text, _ = _ACTIONS[action]
    parser = CommandParser(prog=f"tokenswarm kube {action}", description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument("--context", help="context of the kubeconfig; without it, the current one")
    parser.add_argument("--namespace", help="namespace; without it, the context's, else default")
    if action != "run":
        parser.add_argument("name", metavar="NAME", help="the run's name, as kube run shows it")
    if action == "run":
        _add_run_arguments(parser)
    elif action == "logs":
        parser.add_argument("--follow", action="store_true", help="until the master ends")
    elif action == "results":
        _add_collection(parser)
    own = list(words[1:])
    return parser, own[: own.index("--")] if "--" in own else own


def _run_options(words: Sequence[str]) -> list[str]:
    """Those of `tokenswarm run`, behind `--`."""
    given = list(words)
    return given[given.index("--") + 1 :] if "--" in given else []


def _add_run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "tokenswarm kube run --image IMAGE [options] -- [options of tokenswarm run]"
    parser.add_argument(
        "--image", required=True, metavar="IMAGE", help="Tokenswarm's image, in a registry of the cluster"
    )
    parser.add_argument("--workers", default="2", metavar="NUMBER", help="pods besides the master; 0: it sends alone")
    parser.add_argument("--name", default="", help="name of the run; without it, tokenswarm- and the time")
    parser.add_argument("--cpu", default="1", help="CPU requested for each pod, like 1 or 500m (default: 1)")
    parser.add_argument("--memory", default="1Gi", help="memory of each pod (default: 1Gi)")
    parser.add_argument(
        "--api-key-secret",
        default="",
        metavar="SECRET",
        help=f"secret with api-key; without it, {API_KEY_VARIABLE} is sent",
    )
    parser.add_argument("--service-account", default="", help="of the pods, such as one that may write to S3")
    parser.add_argument(
        "--collect-within",
        default="1h",
        metavar="TIME",
        help="how long a pod keeps results that nobody collects (default: 1h)",
    )
    parser.add_argument(
        "--start-within", default="10m", metavar="TIME", help="how long pods may wait for resources (default: 10m)"
    )
    _add_collection(parser)
    parser.add_argument("--keep", action="store_true", help="leave the Job in the cluster when its results are copied")
    parser.add_argument("--detach", action="store_true", help="make the Job and end")
    parser.add_argument("--dry-run", action="store_true", help="print the manifests as YAML and end")


def _add_collection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", default="results", metavar="FOLDER", help="where results are copied (default: results)")


def _run(args: argparse.Namespace, options: Sequence[str]) -> int:
    run = _kube_run(args, options)
    start_within_s = parse_timespan("--start-within", args.start_within)
    if args.dry_run:
        show(_as_yaml(run))
        return 0
    api = ClusterApi(args.context, args.namespace)
    _create(api, run)
    _note(f"Run {run.name} in namespace {api.namespace}: {units.counted(run.workers, 'worker')}. {_commands(run.name)}")
    if args.detach:
        return 0
    follower = RunFollower(api, run.name, _note, show)
    try:
        outcome = follower.follow(Path(args.to), start_within_s)
    except KeyboardInterrupt:
        _note(f"The run goes on in the cluster. {_commands(run.name)}")
        raise
    if args.keep or (outcome.problem and outcome.began):
        _note(f"The run's objects stay in the cluster: tokenswarm kube delete {run.name}")
    else:
        api.delete(selector_of(run.name))
    return _reported(outcome)


def _reported(outcome: KubeOutcome) -> int:
    for folder in outcome.folders:
        show(f"Results: {folder}")
    if outcome.problem:
        _note(f"tokenswarm kube run: {outcome.problem}")
    return outcome.code


def _create(api: ClusterApi, run: KubeRun) -> None:
    """Make all objects, or none."""
    key = secrets.token_hex(32)
    hide(key)
    values = {CLUSTER_KEY: key}
    if not run.api_key_secret and (api_key := os.environ.get(API_KEY_VARIABLE)):
        values[API_KEY] = api_key
    made = False
    try:
        for manifest in (secret(run, values), *manifests(run)):
            api.create(manifest)
            made = True
    except KubeError:
        if made:
            with suppress(KubeError):  # who may not make one kind may not be allowed to list it either
                api.delete(selector_of(run.name))
        raise


def _logs(args: argparse.Namespace, _: Sequence[str]) -> int:
    api = ClusterApi(args.context, args.namespace)
    MasterLog(api, _state(api, args.name).master, show, args.follow).read()
    return 0


def _results(args: argparse.Namespace, _: Sequence[str]) -> int:
    api = ClusterApi(args.context, args.namespace)
    state = _state(api, args.name)
    if state.results:
        folders, code = collect(api, state.master, Path(args.to))
        return _reported(KubeOutcome(code, tuple(folders)))
    if state.exit_code is not None or state.problem:
        ends = state.problem or f"Pod {state.master} has ended with exit code {state.exit_code}."
        raise KubeError(f"{ends} Its results are not in the cluster any more, unless --results named a store.")
    return _reported(RunFollower(api, args.name, _note, lambda _: None).follow(Path(args.to), float("inf")))


def _state(api: ClusterApi, name: str) -> ClusterRunState:
    """Of a run that is there. Raises KubeError."""
    state = state_of(api.pods(selector_of(name)))
    if not state.master:
        raise KubeError(f"There is no master of a run {shown(name)} in namespace {api.namespace}.")
    return state


def _delete(args: argparse.Namespace, _: Sequence[str]) -> int:
    api = ClusterApi(args.context, args.namespace)
    deleted = api.delete(selector_of(args.name))
    if not deleted:
        raise KubeError(f"There is nothing of a run {shown(args.name)} in namespace {api.namespace}.")
    for each in deleted:
        show(f"Deleted: {each}")
    return 0


#: By name: a line of help, and what does it.
_ACTIONS = {
    "run": ("make the Job, show its log, copy its results and pass its exit code on", _run),
    "logs": ("show the log of a run's master", _logs),
    "results": ("wait for a run's results and copy them", _results),
    "delete": ("delete everything of a run from the cluster", _delete),
}


def _kube_run(args: argparse.Namespace, options: Sequence[str]) -> KubeRun:
    """Raises KubeError, TimespanError."""
    name = args.name or f"tokenswarm-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    if not _NAME.fullmatch(name):
        raise KubeError("--name takes at most 50 lower-case letters, digits and dashes, a letter first.")
    if not args.workers.isdigit():
        raise KubeError(f"--workers takes a whole number, 0 or more, got {shown(args.workers)}.")
    if wrong := [option for option in _flags(options) if option in _OWN_OPTIONS]:
        raise KubeError(f"{', '.join(wrong)}: set by kube run itself; use --workers for the number of workers.")
    return KubeRun(
        name,
        args.image,
        tuple(options),
        int(args.workers),
        round(parse_timespan("--collect-within", args.collect_within)),
        args.cpu,
        args.memory,
        args.api_key_secret,
        args.service_account,
    )


def _flags(options: Sequence[str]) -> Iterator[str]:
    return (word.partition("=")[0] for word in options if word.startswith("-"))


def _as_yaml(run: KubeRun) -> str:
    yaml = import_module("yaml")
    head = (
        f"# The secret {run.name} is not shown. tokenswarm kube run makes it by itself; by hand:\n"
        f'# kubectl create secret generic {run.name} --from-literal={CLUSTER_KEY}="$(openssl rand -hex 32)"\n'
    )
    text: str = yaml.safe_dump_all(manifests(run), sort_keys=False, width=120)
    return head + text.rstrip()


def _commands(name: str) -> str:
    return f"Its log, results and end: tokenswarm kube logs {name}, … results {name}, … delete {name}."


def _note(line: str) -> None:
    """On the standard error: the standard output has the run's log."""
    print(line, file=sys.stderr, flush=True)

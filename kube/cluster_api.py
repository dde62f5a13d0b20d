"""What `tokenswarm kube` needs of a cluster's API, through Kubernetes' own Python client.

That client reads every kind of kubeconfig (certificates, tokens, the login programs of cloud providers) and a service
account's files inside a pod, and speaks the WebSocket protocol of `exec`. Answers are read as plain JSON.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from tokenswarm.kube.manifests import CONTAINER, Manifest
from tokenswarm.run_folder.reader import ReportError
from tokenswarm.sanitize import server_text

_MOST_CHARACTERS = 300
_TIMEOUT_S = 30.0
#: How long the log of a run may be silent before the connection is made again.
_SILENCE_S = 60.0
_STDOUT, _STDERR = 1, 2
#: Of a command whose output is read.
_MOST_SILENCE_S = 300.0
#: Of each kind that a run has: the class of the client that has its calls, and what they are named after.
_KINDS = {
    "Job": ("BatchV1Api", "job"),
    "Service": ("CoreV1Api", "service"),
    "NetworkPolicy": ("NetworkingV1Api", "network_policy"),
    "Secret": ("CoreV1Api", "secret"),
}


class KubeError(ReportError):
    """The cluster cannot be used, or refused something; the message is one sentence."""


class ClusterApi:
    """One namespace of one cluster."""

    def __init__(self, context: str | None, namespace: str | None) -> None:
        """context: of the kubeconfig, None for its current one; namespace: None for the context's. Raises KubeError."""
        try:
            self._client, config = import_module("kubernetes.client"), import_module("kubernetes.config")
            self._stream = import_module("kubernetes.stream").stream
        except ImportError:
            raise KubeError(
                "kube needs the extra kube of Tokenswarm, which is not installed: pip install '.[kube]' in "
                "Tokenswarm's folder."
            ) from None
        try:
            contexts = _loaded(config, context)
        except Exception as error:  # of YAML, of files, of login programs
            raise KubeError(f"There is no usable kubeconfig: {_text_of(error)}.") from None
        own = next((each for each in contexts if each["name"] == context), contexts[0] if contexts else {})
        self.namespace = namespace or own.get("context", {}).get("namespace") or "default"

    def create(self, manifest: Manifest) -> None:
        """Make an object. Raises KubeError."""
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        api, noun = _KINDS[kind]
        create = getattr(self._api(api), f"create_namespaced_{noun}")
        self._call(f"{kind} {name} cannot be made", create, self.namespace, manifest)

    def pods(self, selector: str) -> list[dict[str, Any]]:
        """The pods that a selector of labels finds. Raises KubeError."""
        return self._list("pods", "CoreV1Api", "pod", selector)

    def jobs(self, selector: str) -> list[dict[str, Any]]:
        """The same for jobs."""
        return self._list("jobs", "BatchV1Api", "job", selector)

    def delete(self, selector: str) -> list[str]:
        """Delete all objects of a run. Returns them as `Kind name`. Raises KubeError."""
        deleted = []
        for kind, (api, noun) in _KINDS.items():
            for each in self._list(f"{noun.replace('_', ' ')} objects", api, noun, selector):
                name = each["metadata"]["name"]
                delete = getattr(self._api(api), f"delete_namespaced_{noun}")
                what = f"{kind} {name} cannot be deleted"
                self._call(what, delete, name, self.namespace, propagation_policy="Background")
                deleted.append(f"{kind} {name}")
        return deleted

    def log(self, pod: str, *, follow: bool) -> Iterator[str]:
        """The lines of a pod's log, each with its time before it. Raises KubeError, also where the connection ends."""
        what = f"The log of pod {pod} cannot be read"
        read = self._api("CoreV1Api").read_namespaced_pod_log
        how = {"timestamps": True, "container": CONTAINER, "_request_timeout": (_TIMEOUT_S, _SILENCE_S)}
        answer = self._call(what, read, pod, self.namespace, follow=follow, **how)
        rest = b""
        try:
            for chunk in answer.stream(amt=None, decode_content=True):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from (line.decode(errors="replace") for line in lines)
        except Exception as error:  # urllib3's own, whatever it meets
            raise KubeError(f"{what}: {_text_of(error)}.") from None
        if rest:
            yield rest.decode(errors="replace")

    def execute(self, pod: str, command: Sequence[str], on_output: Callable[[bytes], object] = lambda _: None) -> None:
        """Run a command in a pod, and pass on what it writes. Raises KubeError, also where the command fails."""
        what = f"{command[0]} in pod {pod} failed"
        connect = self._api("CoreV1Api").connect_get_namespaced_pod_exec
        streams = {"stdin": False, "stdout": True, "stderr": True, "tty": False}
        try:
            socket = self._stream(
                *(connect, pod, self.namespace),
                **(streams | {"command": list(command), "container": CONTAINER}),
                _preload_content=False,
                binary=True,
            )
            socket._all = _Discarded()
            errors = _passed_on(socket, on_output)
            code = socket.returncode
        except Exception as error:
            raise KubeError(f"{what}: {_text_of(error)}.") from None
        if code:
            raise KubeError(f"{what}: {server_text(errors.decode(errors='replace').strip(), _MOST_CHARACTERS)}.")

    def _list(self, noun: str, api: str, call: str, selector: str) -> list[dict[str, Any]]:
        found = getattr(self._api(api), f"list_namespaced_{call}")
        answer = self._call(f"The {noun} cannot be listed", found, self.namespace, label_selector=selector)
        items: list[dict[str, Any]] = json.loads(answer.data)["items"]
        return items

    def _api(self, name: str) -> Any:
        return getattr(self._client, name)()

    def _call(self, what: str, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **({"_preload_content": False, "_request_timeout": _TIMEOUT_S} | named))
        except Exception as error:  # ApiException for a status, urllib3's for a connection
            raise KubeError(f"{what}: {_text_of(error)}.") from None


class _Discarded:
    """In place of the copy of all output that the client keeps in memory, as no argument turns it off."""

    def write(self, _: bytes) -> None:
        """Keep nothing."""


def _passed_on(socket: Any, on_output: Callable[[bytes], object]) -> bytes:
    """Until the command has ended. Returns what it wrote as errors. Raises TimeoutError after a long silence."""
    errors, latest_s = b"", time.monotonic()
    while socket.is_open():
        socket.update(timeout=_TIMEOUT_S)
        output, text = socket.read_channel(_STDOUT), socket.read_channel(_STDERR)
        on_output(output)
        errors += text
        if output or text:
            latest_s = time.monotonic()
        elif time.monotonic() - latest_s > _MOST_SILENCE_S:
            raise TimeoutError(f"nothing came for {_MOST_SILENCE_S:g} s")
    on_output(socket.read_channel(_STDOUT))
    return errors + bytes(socket.read_channel(_STDERR))


def _loaded(config: Any, context: str | None) -> list[dict[str, Any]]:
    """Set the client up. Returns the contexts of the kubeconfig, the current one first; none inside a pod that has no
    kubeconfig, where its service account counts."""
    file = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    if "KUBECONFIG" not in os.environ and not Path(file).exists() and "KUBERNETES_SERVICE_HOST" in os.environ:
        config.load_incluster_config()
        return []
    config.load_kube_config(config_file=file, context=context)
    contexts, current = config.list_kube_config_contexts(config_file=file)
    return [current, *contexts]


def _text_of(error: Exception) -> str:
    """The API server's own message where there is one, without the full stop."""
    body = getattr(error, "body", None)
    text = str(getattr(error, "reason", None) or error) or type(error).__name__
    if body:
        try:
            text = json.loads(body)["message"]
        except (ValueError, KeyError, TypeError):
            text = f"status {getattr(error, 'status', '')}"
    elif connection := re.search(r"\[Errno [^\]]*\] ([^')]*)", text):
        text = connection[1]
    return server_text(text.strip().splitlines()[0].rstrip("."), _MOST_CHARACTERS)

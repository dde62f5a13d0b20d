"""HTTPS against a real TLS server on loopback: what is trusted, what is not, and when it arrived."""

from __future__ import annotations

import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from tests.peer import SecurePeer, Server, just_before_it_sends, until
from tests.wire.test_deferred_reads import Listener, chunk
from tokenswarm.wire import (
    ClientCertificateRefused,
    ConnectFailed,
    Exchange,
    NoTls,
    Origin,
    StreamClient,
    TlsSettings,
    UnusableCertificates,
    went_stale,
)
from tokenswarm.wire.read_notifier import READ_NOTIFIER

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


Serve = Callable[[Callable[[ssl.SSLSocket], None]], int]


@pytest.fixture
def serve(authority: trustme.CA) -> Iterator[Callable[..., int]]:
    """Serve connections with a certificate for the given name, each by `handle`; the port comes back."""
    greenlets: list[gevent.Greenlet] = []
    listeners: list[socket.socket] = []

    def start(
        handle: Callable[[ssl.SSLSocket], None],
        name: str = "127.0.0.1",
        version: ssl.TLSVersion | None = None,
        clients: trustme.CA | None = None,
    ) -> int:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        if clients is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            clients.configure_trust(context)
        if version is not None:
            context.maximum_version = version
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def accept() -> None:
            while True:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or its answer waits for our ACK
                try:
                    handle(context.wrap_socket(connection, server_side=True))
                except OSError:  # the client did not trust us
                    connection.close()

        greenlets.append(gevent.spawn(accept))
        return int(listener.getsockname()[1])

    yield start
    gevent.killall(greenlets)
    for listener in listeners:
        listener.close()


def client(port: int, **settings: object) -> StreamClient:
    return StreamClient(Origin.parse(f"https://127.0.0.1:{port}"), 5.0, tls=TlsSettings(**settings).context())  # type: ignore[arg-type]


def to_its_end(exchange: Exchange) -> bytes:
    body = b""
    while not exchange.ended:
        body += b"".join(arrival.data for arrival in exchange.wait(5.0))
    return body + b"".join(arrival.data for arrival in exchange.wait(0))


def read_request(connection: ssl.SSLSocket) -> bytes:
    request = b""
    while not request.endswith(b"{}"):
        request += connection.recv(65536)
    return request


def answer(connection: ssl.SSLSocket) -> None:
    """Two answers on one connection, the body in two records."""
    for _ in range(2):
        read_request(connection)
        connection.sendall(HEAD + b"5\r\nfirst\r\n")
        gevent.sleep(0.01)
        connection.sendall(b"6\r\nsecond\r\n0\r\n\r\n")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
def test_a_stream_over_tls_is_whole_stamped_and_keeps_its_connection(
    serve: Callable[..., int], ca_file: str, kernel_stamps: None, version: ssl.TLSVersion
) -> None:
    user = client(serve(answer, version=version), ca_file=ca_file)
    first = user.post("/", b"{}")
    assert to_its_end(first) == b"firstsecond"
    assert first.connect_ns > 0
    second = user.post("/", b"{}")
    arrivals = []
    while not second.ended:
        arrivals += second.wait(5.0)
    assert second.connect_ns == 0
    assert b"".join(arrival.data for arrival in arrivals) == b"firstsecond"
    assert all(arrival.kernel for arrival in arrivals)
    user.close()


def test_reads_over_tls_are_put_aside_as_others_are(
    serve: Callable[..., int], ca_file: str, kernel_stamps: None
) -> None:
    def answer_in_events(connection: ssl.SSLSocket) -> None:
        read_request(connection)
        for part in (HEAD, chunk("one"), chunk("two"), chunk("three"), b"0\r\n\r\n"):
            connection.sendall(part)
            gevent.sleep(0.01)

    user, listener = client(serve(answer_in_events), ca_file=ca_file), Listener()
    exchange = user.post("/", b"{}", None, listener)
    exchange.wait(5.0)
    assert listener.text == "one two three "
    assert len(listener.groups) == 2  # what came behind the first was looked at together
    assert exchange.error is None
    user.close()


def test_bytes_that_came_while_the_loop_was_blocked_keep_their_time(
    serve: Callable[..., int], ca_file: str, kernel_stamps: None
) -> None:
    blocked: list[int] = []
    kept: list[ssl.SSLSocket] = []  # closed, it would say goodbye in the same read, and the last segment gives the time

    def answer_and_block(connection: ssl.SSLSocket) -> None:
        read_request(connection)
        connection.sendall(HEAD + b"5\r\nfirst\r\n0\r\n\r\n")
        kept.append(connection)
        blocked.append(time.perf_counter_ns())
        while time.perf_counter_ns() < blocked[0] + 100_000_000:  # the whole loop, its reads included
            pass

    user = client(serve(answer_and_block), ca_file=ca_file)
    exchange = user.post("/", b"{}")
    (arrival,) = exchange.wait(5.0)
    assert arrival.arrived_ns <= blocked[0]
    assert arrival.arrived_ns + arrival.delay_ns >= blocked[0] + 100_000_000
    user.close()


def test_a_certificate_of_an_unknown_authority_is_not_trusted(serve: Callable[..., int]) -> None:
    port = serve(answer)
    with pytest.raises(ConnectFailed) as refused:
        client(port).connect()
    assert str(refused.value) == (
        f"the certificate of 127.0.0.1:{port} is not trusted: unable to get local issuer certificate; name its "
        "authority with --tls-ca, or trust it unseen with --tls-insecure"
    )


def test_a_certificate_for_another_name_is_not_trusted(serve: Callable[..., int], ca_file: str) -> None:
    with pytest.raises(ConnectFailed, match="IP address mismatch"):
        client(serve(answer, name="elsewhere.example"), ca_file=ca_file).connect()


def test_insecure_trusts_whatever_comes(serve: Callable[..., int]) -> None:
    user = client(serve(answer, name="elsewhere.example"), insecure=True)
    assert to_its_end(user.post("/", b"{}")) == b"firstsecond"
    user.close()


def test_a_server_without_tls_is_told_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak_http() -> None:
            connection, _ = listener.accept()
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.close()

        speaker = gevent.spawn(speak_http)
        with pytest.raises(NoTls, match=r"try http://127\.0\.0\.1:\d+$"):
            client(listener.getsockname()[1], insecure=True).connect()
        speaker.join()


def test_a_server_that_closes_in_the_handshake_is_told_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closer = gevent.spawn(lambda: listener.accept()[0].close())  # noqa: PLW0108 - accept is called later
        with pytest.raises(ConnectFailed):
            client(listener.getsockname()[1], insecure=True).connect()
        closer.join()


def test_a_connection_cut_in_the_body_is_the_server_s_fault(serve: Callable[..., int], ca_file: str) -> None:
    def cut(connection: ssl.SSLSocket) -> None:
        read_request(connection)
        connection.sendall(HEAD + b"5\r\nfirst\r\n")
        connection.close()

    user = client(serve(cut), ca_file=ca_file)
    exchange = user.post("/", b"{}")
    assert to_its_end(exchange) == b"first"
    assert str(exchange.error) == "the connection ended inside the response's body"


def test_a_file_that_holds_no_authority_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing of the kind")
    for name in (tmp_path / "ca.pem", tmp_path / "missing.pem", tmp_path, "/dev/zero"):
        with pytest.raises(UnusableCertificates, match=rf"--tls-ca.*{name}"):
            TlsSettings(str(name)).context()


@pytest.fixture
def client_files(authority: trustme.CA, tmp_path: Path) -> dict[str, str]:
    """PEM files: a client certificate of the authority with its key, its parts, the key of another one."""
    identity, other = authority.issue_cert("client@example.org"), authority.issue_cert("other@example.org")
    identity.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
    identity.cert_chain_pems[0].write_to_path(str(tmp_path / "certificate.pem"))
    identity.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    other.private_key_pem.write_to_path(str(tmp_path / "other.pem"))
    key = serialization.load_pem_private_key(identity.private_key_pem.bytes(), None)
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    encrypted = key.private_bytes(pem, pkcs8, serialization.BestAvailableEncryption(b"passphrase"))
    (tmp_path / "encrypted.pem").write_bytes(encrypted)
    (tmp_path / "text.pem").write_text("nothing of the kind")
    return {path.stem: str(path) for path in tmp_path.glob("*.pem")} | {"missing": str(tmp_path / "missing.pem")}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
@pytest.mark.parametrize("files", [("both", None), ("certificate", "key")])
def test_a_client_certificate_is_shown_to_the_server(
    serve: Callable[..., int],
    authority: trustme.CA,
    ca_file: str,
    client_files: dict[str, str],
    version: ssl.TLSVersion,
    files: tuple[str, str | None],
) -> None:
    subjects: list[object] = []

    def answer_to_whom(connection: ssl.SSLSocket) -> None:
        subjects.append((connection.getpeercert() or {})["subjectAltName"])
        answer(connection)

    certificate, key = files
    how = {"certificate_file": client_files[certificate], "key_file": key and client_files[key]}
    user = client(serve(answer_to_whom, version=version, clients=authority), ca_file=ca_file, **how)
    assert to_its_end(user.post("/", b"{}")) == b"firstsecond"
    assert subjects == [(("email", "client@example.org"),)]
    user.close()


def test_a_server_that_demands_a_client_certificate_and_gets_none_is_told_so(
    serve: Callable[..., int], authority: trustme.CA, ca_file: str
) -> None:
    port = serve(answer, clients=authority, version=ssl.TLSVersion.TLSv1_3)
    user = client(port, ca_file=ca_file)
    exchange = user.post("/", b"{}")
    exchange.wait(5.0)
    assert isinstance(exchange.error, ClientCertificateRefused)
    assert str(exchange.error).endswith("give --client-cert")
    old = serve(answer, clients=authority, version=ssl.TLSVersion.TLSv1_2)
    with pytest.raises(ConnectFailed, match="--client-cert"):
        client(old, ca_file=ca_file).connect()


def test_a_refusal_that_comes_just_before_the_request_is_its_error(
    serve: Callable[..., int], authority: trustme.CA, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = client(serve(answer, clients=authority, version=ssl.TLSVersion.TLSv1_3), ca_file=ca_file)
    user.connect()
    connection: Any = user._connection
    monkeypatch.setattr(READ_NOTIFIER, "read_between", lambda: until(lambda: connection.closed))
    began_ns = time.perf_counter_ns()
    exchange = user.post("/", b"{}")
    assert isinstance(exchange.error, ClientCertificateRefused)
    assert exchange.sent_ns >= began_ns


def test_a_client_certificate_that_the_server_does_not_trust_is_named(
    serve: Callable[..., int], ca_file: str, client_files: dict[str, str]
) -> None:
    port = serve(answer, clients=trustme.CA(), version=ssl.TLSVersion.TLSv1_2)
    with pytest.raises(ClientCertificateRefused, match="does not accept the client certificate"):
        client(port, ca_file=ca_file, certificate_file=client_files["both"]).connect()


@pytest.mark.parametrize(
    ("certificate", "key", "said"),
    [
        ("missing", None, "--client-cert: the file"),
        ("certificate", "missing", "--client-key: the file"),
        ("certificate", None, "give the key's file with --client-key"),
        ("text", "key", "--client-cert takes a PEM file"),
        ("certificate", "text", "--client-key one of its key"),
        ("certificate", "other", "other.pem: the key is not that of the certificate"),
        ("certificate", "encrypted", "the key is encrypted"),
    ],
)
def test_files_that_hold_no_client_certificate_are_refused(
    client_files: dict[str, str], certificate: str, key: str | None, said: str
) -> None:
    how = {"certificate_file": client_files[certificate], "key_file": client_files[key] if key else None}
    with pytest.raises(UnusableCertificates, match=said):
        TlsSettings(**how).context()  # type: ignore[arg-type]


# The server's end, step by step.


@pytest.fixture
def secure_server(authority: trustme.CA) -> Iterator[Callable[[Callable[..., object]], tuple[Server, SecurePeer]]]:
    """Have a client do something that needs a connection; the server, and its end of it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = Server()

    def accept(connects: Callable[..., object]) -> tuple[Server, SecurePeer]:
        connecting = gevent.spawn(connects)
        peer = SecurePeer(server.accept(), context)
        peer.shake_hands()
        connecting.get(timeout=20)
        return server, peer

    accept.server = server  # type: ignore[attr-defined]
    yield accept
    server.close()


@pytest.mark.parametrize("deferred", [True, False])
def test_data_before_a_record_that_is_none_is_kept_and_the_error_is_reported(
    secure_server: Any, ca_file: str, kernel_stamps: None, deferred: bool
) -> None:
    user, listener = client(secure_server.server.origin.port, ca_file=ca_file), Listener()
    _, peer = secure_server(user.connect)
    exchange = user.post("/", b"{}", None, listener)
    peer.request()
    peer.send(HEAD)
    if deferred:
        peer.send(chunk("one"))
        until(lambda: listener.text)
    peer.send_garbage(chunk("two"), b"this is no record of TLS")
    exchange.wait(20.0)
    assert listener.text == "one " * deferred + "two "
    assert str(exchange.error).startswith("the server broke TLS: ")
    user.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what was acknowledged")
@pytest.mark.parametrize("reads_it", [True, False])
def test_a_kept_connection_that_was_closed_went_stale_if_the_server_cannot_have_read_the_request(
    secure_server: Any, ca_file: str, reads_it: bool
) -> None:
    user = client(secure_server.server.origin.port, ca_file=ca_file)
    _, peer = secure_server(user.connect)
    first = user.post("/", b"{}")
    peer.request()
    peer.send(HEAD + b"0\r\n\r\n")
    assert to_its_end(first) == b""
    if not reads_it:
        just_before_it_sends(user, peer.close)
    second = user.post("/", b"{}")
    if reads_it:
        peer.request()
        peer.close()
    second.wait(20.0)
    assert second.error is not None
    assert went_stale(second) == (not reads_it)
    user.close()


def test_a_context_without_files_is_made_once_and_trusts_what_its_settings_say() -> None:
    trusting, careful = TlsSettings(insecure=True).context(), TlsSettings().context()
    assert (trusting.verify_mode, careful.verify_mode) == (ssl.CERT_NONE, ssl.CERT_REQUIRED)
    assert (trusting.check_hostname, careful.check_hostname) == (False, True)
    assert TlsSettings().context() is careful

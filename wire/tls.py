"""TLS beside the socket instead of around it: ciphertext in and out as bytes, so that the reads stay ours.

An ssl.SSLSocket reads for itself and keeps the kernel's times from us; an SSLObject over MemoryBIO only computes.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tokenswarm.sanitize import UnusableFile, check_file
from tokenswarm.wire.errors import ClientCertificateRefused, ServerBrokeProtocol, UnusableCertificates, WireError

_PLAINTEXT_BYTES = 65536
#: Those of all public authorities together take a quarter of a megabyte.
_MOST_CA_BYTES = 64 * 2**20
#: What a server's alerts are about where they are about a client certificate, by OpenSSL's names.
_CERTIFICATE_REQUIRED = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
_CERTIFICATE_REFUSED = {
    *("TLSV1_ALERT_UNKNOWN_CA", "TLSV1_ALERT_ACCESS_DENIED", "SSLV3_ALERT_BAD_CERTIFICATE"),
    *("SSLV3_ALERT_CERTIFICATE_UNKNOWN", "SSLV3_ALERT_CERTIFICATE_EXPIRED", "SSLV3_ALERT_CERTIFICATE_REVOKED"),
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
}


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """ca_file: PEM file of the authorities to trust instead of the system's. insecure: trust whatever comes.
    certificate_file, key_file: PEM files of a client certificate with its chain, and of its key where it has a file of
    its own."""

    ca_file: str | None = None
    insecure: bool = False
    certificate_file: str | None = None
    key_file: str | None = None

    def context(self) -> ssl.SSLContext:
        """For any number of connections. Raises UnusableCertificates where a file does not hold what it should."""
        if self.ca_file is None and self.certificate_file is None:
            return _context_without_files(self.insecure)
        return self._new_context()

    def _new_context(self) -> ssl.SSLContext:
        try:
            if self.ca_file is not None:
                check_file(Path(self.ca_file), _MOST_CA_BYTES)
            context = ssl.create_default_context(cafile=self.ca_file)
        except UnusableFile as error:
            raise UnusableCertificates(f"--tls-ca: the file {self.ca_file} {error}.") from None
        except (OSError, ssl.SSLError) as error:
            raise UnusableCertificates(
                f"--tls-ca {self.ca_file} is no PEM file of certificates ({error.strerror or error}); "
                "name one that holds the server's authority."
            ) from None
        context.set_alpn_protocols(["http/1.1"])
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.certificate_file is not None:
            self._load_client_certificate(context, self.certificate_file)
        return context

    def _load_client_certificate(self, context: ssl.SSLContext, certificate_file: str) -> None:
        """Raises UnusableCertificates."""
        key_place = f"--client-key {self.key_file}" if self.key_file else f"--client-cert {certificate_file}"

        def no_passphrase() -> str:  # or OpenSSL would wait for one at the terminal
            raise UnusableCertificates(f"{key_place}: the key is encrypted; give a file with the key unencrypted.")

        for option, file in (("--client-cert", certificate_file), ("--client-key", self.key_file)):
            try:
                if file is not None:
                    check_file(Path(file), _MOST_CA_BYTES)
            except UnusableFile as error:
                raise UnusableCertificates(f"{option}: the file {file} {error}.") from None
        try:
            context.load_cert_chain(certificate_file, self.key_file, no_passphrase)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise UnusableCertificates(
                    f"{key_place}: the key is not that of the certificate in --client-cert {certificate_file}."
                ) from None
            advice = "two such files" if self.key_file else "both, or give the key's file with --client-key"
            raise UnusableCertificates(
                f"--client-cert takes a PEM file of a certificate, and --client-key one of its key, got "
                f"{' and '.join(filter(None, (certificate_file, self.key_file)))} ({reason_of(error)}); give {advice}."
            ) from None
        except OSError as error:
            raise UnusableCertificates(f"{key_place} cannot be read: {error.strerror}.") from None


@cache
def _context_without_files(insecure: bool) -> ssl.SSLContext:
    """Reading all authorities that the system trusts takes tens of milliseconds: once for a process."""
    return TlsSettings(insecure=insecure)._new_context()


class TlsSession:
    """One connection's TLS. Whatever method was called, `to_send` then holds what must go out.

    broken: why no more can be decrypted, None as long as more can. sent_bytes: that `to_send` has given out so far.
    """

    def __init__(self, context: ssl.SSLContext, server_name: str) -> None:
        self.broken: WireError | None = None
        self.sent_bytes = 0
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)

    def shake_hands(self, received: bytes) -> bool:
        """Go on with the handshake; True when it is done. Raises ssl.SSLError, also for a certificate not trusted."""
        self._incoming.write(received)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def encrypt(self, plaintext: bytes) -> bytes:
        """The bytes to send for these."""
        self._tls.write(plaintext)
        return self.to_send()

    def decrypt(self, ciphertext: bytes) -> bytes:
        """Return the plaintext that these bytes complete: b"" where a record is not whole, or where `broken` says
        why there will be none. What precedes a broken record is returned."""
        self._incoming.write(ciphertext)
        pieces: list[bytes] = []
        try:
            while piece := self._tls.read(_PLAINTEXT_BYTES):
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:  # the peer's close_notify; its close of the connection is what counts
            pass
        except ssl.SSLError as error:
            self.broken = certificate_refusal(error) or ServerBrokeProtocol(f"the server broke TLS: {reason_of(error)}")
        return b"".join(pieces)

    def received(self, ciphertext: bytes, sock: socket.socket) -> bytes:
        """As `decrypt`, and what TLS has to answer is sent."""
        plaintext = self.decrypt(ciphertext)
        if answer := self.to_send():
            with suppress(BlockingIOError):  # a few bytes of TLS's own, into an idle direction: they fit
                sock.send(answer)
        return plaintext

    def check(self) -> None:
        """Raises ServerBrokeProtocol or ClientCertificateRefused where TLS broke behind the data that was decrypted."""
        if self.broken is not None:
            raise self.broken

    def to_send(self) -> bytes:
        """What TLS itself has to say: handshake, key updates."""
        data = self._outgoing.read()
        self.sent_bytes += len(data)
        return data


def certificate_refusal(error: ssl.SSLError) -> ClientCertificateRefused | None:
    """What a server's alert says of the client certificate; None where it is about something else."""
    if error.reason == _CERTIFICATE_REQUIRED:
        return ClientCertificateRefused("the server requires a client certificate: give --client-cert")
    if error.reason in _CERTIFICATE_REFUSED:
        return ClientCertificateRefused(
            f"the server does not accept the client certificate ({reason_of(error)}): check --client-cert"
        )
    return None


def reason_of(error: ssl.SSLError) -> str:
    """OpenSSL's words without its file and line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return (error.reason or str(error)).replace("_", " ").lower()

"""TLS beside the socket instead of around it: ciphertext in and out as bytes, so that the reads stay ours.

An ssl.SSLSocket reads for itself and keeps the kernel's times from us; an SSLObject over MemoryBIO only computes.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from sanitize import UnusableFile, check_file
from wire.errors import ServerBrokeProtocol, UnusableCertificates

_PLAINTEXT_BYTES = 65536
#: Those of all public authorities together take a quarter of a megabyte.
_MOST_CA_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """ca_file: PEM file of the authorities to trust instead of the system's. insecure: trust whatever comes."""

    ca_file: str | None = None
    insecure: bool = False

    def context(self) -> ssl.SSLContext:
        """Raises UnusableCertificates where ca_file holds none."""
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
        return context


class TlsSession:
    """One connection's TLS. Whatever method was called, `to_send` then holds what must go out.

    broken: why no more can be decrypted, None as long as more can. sent_bytes: that `to_send` has given out so far.
    """

    def __init__(self, context: ssl.SSLContext, server_name: str) -> None:
        self.broken: ServerBrokeProtocol | None = None
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
            self.broken = ServerBrokeProtocol(f"the server broke TLS: {reason_of(error)}")
        return b"".join(pieces)

    def to_send(self) -> bytes:
        """What TLS itself has to say: handshake, key updates."""
        data = self._outgoing.read()
        self.sent_bytes += len(data)
        return data


def reason_of(error: ssl.SSLError) -> str:
    """OpenSSL's words without its file and line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return (error.reason or str(error)).replace("_", " ").lower()

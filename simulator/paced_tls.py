"""The paced server's side of TLS: bytes in, bytes out, so that it goes on writing and stamping by itself."""

from __future__ import annotations

import ssl
from pathlib import Path

_PLAINTEXT_BYTES = 65_536


def server_context(certificate: Path) -> ssl.SSLContext:
    """`certificate`: PEM file of the key and the chain. Raises OSError, ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


class ServerTls:
    """One connection's TLS; `to_send` holds what must go out after each call."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._shaken = False

    def decrypt(self, ciphertext: bytes) -> bytes:
        """What these bytes complete, the handshake being part of it. Raises ssl.SSLError."""
        self._incoming.write(ciphertext)
        plaintext = b""
        try:
            if not self._shaken:
                self._tls.do_handshake()
                self._shaken = True
            while piece := self._tls.read(_PLAINTEXT_BYTES):
                plaintext += piece
        except ssl.SSLWantReadError:
            pass
        return plaintext

    def encrypt(self, plaintext: bytes) -> bytes:
        """The bytes to send for these."""
        self._tls.write(plaintext)
        return self.to_send()

    def to_send(self) -> bytes:
        return self._outgoing.read()

"""An authority of the benchmark's own, and a certificate of it for the loopback."""

from __future__ import annotations

from pathlib import Path

#: Their files, beside the runs' folders: what a client trusts, and the server's key and certificate.
AUTHORITY = "authority.pem"
CERTIFICATE = "server.pem"


def make_certificate(folder: Path) -> None:
    """Write both. Raises OSError."""
    import trustme

    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / AUTHORITY)
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / CERTIFICATE)

"""How connections to the server are made: TLS, a client certificate, a proxy. The options, and what they become.

A proxy's user name and password stay in the process that was given them, as values of --header do.
"""

from __future__ import annotations

from argparse import Namespace
from base64 import b64encode
from urllib.parse import unquote
from urllib.request import getproxies, proxy_bypass

from tokenswarm.client.option_values import OptionError
from tokenswarm.client.server_address import base_url
from tokenswarm.command_line import OptionAdder, OptionErrors
from tokenswarm.sanitize import hide, overwrite_argument
from tokenswarm.wire import Origin, Proxy, TlsSettings, UnusableUrl, split_credentials

#: What the option holds in place of credentials that this process keeps.
_KEPT = "*"
_LOOPBACK = ("localhost", "127.", "::1")

#: By the proxy's address: its credentials as they were given.
_credentials: dict[str, str] = {}


def add_connection_options(option: OptionAdder) -> None:
    """Give Locust's parser the options of this module."""
    option("--tls-ca", "PEM file of the authorities to trust with an https host; empty: the system's")
    option.switch("--tls-insecure", "skip TLS certificate verification (insecure)", include_in_web_ui=False)
    option(
        "--client-cert",
        "PEM file of the certificate that this client shows to an https host (mTLS), with its chain, and with its key "
        "where --client-key is empty; each machine reads its own",
        include_in_web_ui=False,
    )
    option("--client-key", "PEM file of that certificate's key, unencrypted", include_in_web_ui=False)
    option(
        "--proxy",
        "HTTP proxy for all connections to the server, http://HOST:PORT, or with NAME:PASSWORD@ before HOST "
        "(docs/requests.md#through-a-proxy); empty: none, whatever HTTP_PROXY and the like say. Name and password are "
        "never written or sent to workers",
        include_in_web_ui=False,
    )


def keep_proxy_credentials(options: Namespace) -> None:
    """Take the user name and password out of --proxy, which then holds `http://*@HOST:PORT`."""
    if not options.proxy:
        return
    credentials, address = split_credentials(options.proxy)
    if credentials in ("", _KEPT):
        return
    overwrite_argument(options.proxy, options.proxy.partition("://")[2] or options.proxy)
    password = credentials.partition(":")[2]
    for secret in (credentials, password):
        hide(secret)
        hide(unquote(secret))
    hide(b64encode(unquote(credentials).encode()).decode())
    _credentials[address] = credentials
    scheme, _, rest = address.partition("://")
    options.proxy = f"{scheme}://{_KEPT}@{rest}"


def proxy_of(text: str) -> Proxy | None:
    """The proxy of --proxy as `keep_proxy_credentials` leaves it, in this process or on the master; None for "". Raises
    OptionError."""
    if not text:
        return None
    credentials, address = split_credentials(text)
    if credentials == _KEPT:
        if address not in _credentials:
            raise OptionError(
                f"--proxy {address}: this process has no user name and password for it, as they are not sent between "
                "machines: start each worker with the same --proxy, or set the variable TOKENSWARM_PROXY there."
            )
        credentials = _credentials[address]
    scheme, _, rest = address.partition("://")
    try:
        return Proxy.parse(f"{scheme}://{credentials}@{rest}" if credentials else address)
    except UnusableUrl as error:
        raise OptionError(str(error)) from None


def unused_proxy_notice(server: Origin) -> str | None:
    """A sentence where the environment names a proxy for this server, which is not used; for runs without --proxy."""
    proxies = getproxies()
    scheme = "https" if server.tls else "http"
    kind = next((name for name in (scheme, "all") if proxies.get(name)), None)
    if kind is None or server.host.startswith(_LOOPBACK) or proxy_bypass(server.authority):
        return None
    return (
        f"The variable {kind.upper()}_PROXY is set and not used: requests go to {server.root} directly; give --proxy "
        "to send them through a proxy"
    )


def tls_of(options: Namespace) -> TlsSettings:
    """The settings of TLS. Raises OptionError."""
    if options.client_key and not options.client_cert:
        raise OptionError("--client-key has no effect without --client-cert: give the certificate's file too.")
    return TlsSettings(
        ca_file=options.tls_ca or None,
        insecure=options.tls_insecure,
        certificate_file=options.client_cert or None,
        key_file=options.client_key or None,
    )


def check_https(given: Namespace, host: str) -> None:
    """Refuse options of TLS where nothing is reached by it. Raises OptionErrors."""
    addresses = f"{base_url(host)},{given.server_metrics},{given.gpu_metrics_url}"
    if "https://" in addresses.lower():
        return
    given_flags = [flag for flag, file in (("--tls-ca", given.tls_ca), ("--client-cert", given.client_cert)) if file]
    if given_flags:
        end = "has no effect with an http host: give its https address, or leave the option out."
        raise OptionErrors([f"{flag} {end}" for flag in given_flags])

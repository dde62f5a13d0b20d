"""What can go wrong on the wire, each named for whose fault it is."""


class WireError(Exception):
    """Base of everything that stops an exchange; its text is one sentence for a person."""


class ConnectFailed(WireError):
    """No connection: the name did not resolve, the port refused, the network said no."""


class NoTls(ConnectFailed):
    """The server does not speak TLS at an https address; the text names the http address to try."""


class CertificateNotTrusted(ConnectFailed):
    """The certificate that the server shows is not one of an authority that is trusted; the text says what to do."""


class ProxyFailed(ConnectFailed):
    """The proxy of --proxy cannot be reached, or does not pass requests on; the text says what to do."""


class ClientCertificateRefused(ConnectFailed):
    """The server requires a client certificate, or does not accept the one of --client-cert."""


class ConnectTimedOut(WireError):
    """No connection within the time allowed for one."""


class ClientLimitReached(WireError):
    """This machine or process is out of files, ports or memory for a connection: no failure of the server's."""


class ServerBrokeProtocol(WireError):
    """The server's bytes are not the HTTP response they promised to be, or stopped before its end."""


class NotHttp(ServerBrokeProtocol):
    """What came is no response of HTTP/1.1."""


class UnusableCertificates(ValueError):
    """The file of trusted authorities cannot be used."""


class UnusableUrl(ValueError):
    """The address given for the server is not one a request can be sent to."""

"""How a run is started, led and ended inside Locust, and with which exit code."""

if __name__ != "tokenswarm.run_control":
    raise __import__("tokenswarm").bare_import(__name__)

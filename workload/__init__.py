"""What a run would send, described without a server: `tokenswarm workload`."""

if __name__ != "tokenswarm.workload":
    raise __import__("tokenswarm").bare_import(__name__)

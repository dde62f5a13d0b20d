"""One request in full detail: which server it is, when each part came, what would mislead a measurement."""

if __name__ != "tokenswarm.probe":
    raise __import__("tokenswarm").bare_import(__name__)

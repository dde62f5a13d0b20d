"""Who sends: Locust users that stream chat responses, with and without a system prompt."""

if __name__ != "tokenswarm.users":
    raise __import__("tokenswarm").bare_import(__name__)

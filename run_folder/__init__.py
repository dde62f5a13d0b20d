"""The folder that a run leaves: one schema, its writers, its readers and its exports."""

if __name__ != "tokenswarm.run_folder":
    raise __import__("tokenswarm").bare_import(__name__)

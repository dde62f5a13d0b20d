"""`tokenswarm kube`: a run as one Job in a Kubernetes cluster, its log, its results and its end."""

if __name__ != "tokenswarm.kube":
    raise __import__("tokenswarm").bare_import(__name__)

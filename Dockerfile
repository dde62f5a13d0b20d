# One image for the simulator, the master and the workers: they must be of one version.
#
# The first part installs. Dependencies come before the source: an edit of the source does not install them again.
FROM python:3.11-slim-bookworm AS build
RUN python -m venv /opt/tokenswarm
ENV PATH=/opt/tokenswarm/bin:$PATH
WORKDIR /source
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
      print(*project['dependencies'], *project['optional-dependencies']['s3'], \
      *project['optional-dependencies']['opentelemetry'], sep='\n')" > requirements.txt \
    && pip install --no-cache-dir --constraint constraints.txt --requirement requirements.txt
COPY . .
RUN pip install --no-cache-dir --no-deps .

# The second part is the image: no source, no compiler, no cache.
FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="Tokenswarm" \
      org.opencontainers.image.description="Load tests for servers that stream text from large language models" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.documentation="docs/deploy.md"
# Folders that are written belong to group 0 and are writable for it: OpenShift gives any user id, and that group.
RUN useradd --uid 10001 --gid 0 --home-dir /home/tokenswarm --no-create-home tokenswarm \
    && install --directory --owner 10001 --group 0 --mode 0775 /results /home/tokenswarm
COPY --from=build /opt/tokenswarm /opt/tokenswarm
ENV PATH=/opt/tokenswarm/bin:$PATH \
    HOME=/home/tokenswarm \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LOCUST_LOCUSTFILE=/opt/tokenswarm/lib/python3.11/site-packages/tokenswarm/locustfile.py \
    TOKENSWARM_RESULTS=/results \
    TOKENSWARM_LOCAL_RESULTS=/results
WORKDIR /home/tokenswarm
# By number: Kubernetes' runAsNonRoot does not resolve names.
USER 10001:0
VOLUME /results
# The page, workers, metrics; and the simulator.
EXPOSE 8089 5557 9646 8000
# Of a master and of a process without workers. docker-compose.yml has the simulator's, and workers have none.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=6 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9646/metrics', timeout=3)"]
CMD ["locust"]

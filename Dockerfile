# One image for the simulator, the master and the workers: they must be of one version.
FROM python:3.11-slim-bookworm

RUN useradd --create-home --uid 10001 tokenswarm \
    && install --directory --owner tokenswarm /results
WORKDIR /opt/tokenswarm
COPY . .
# Editable: Locust is given this folder's locustfile.py, and the packages beside it are then the only ones.
RUN pip install --no-cache-dir --constraint constraints.txt --editable .

ENV PYTHONUNBUFFERED=1 \
    LOCUST_LOCUSTFILE=/opt/tokenswarm/locustfile.py \
    TOKENSWARM_RESULTS=/results
USER tokenswarm
VOLUME /results
CMD ["locust"]

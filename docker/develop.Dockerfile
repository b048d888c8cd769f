# Where scripts/develop runs a goal when the machine itself has no PostgreSQL: the tree is mounted at /tree.
ARG BASE_IMAGE=dialog_partition:17
FROM ${BASE_IMAGE}
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ca-certificates git make python3-venv \
    && rm -rf /var/lib/apt/lists/*
ENV DEVELOP_ENVIRONMENT=/var/tmp/venv
HEALTHCHECK NONE
ENTRYPOINT ["sh", "-c", "mkdir /work && cd /tree && tar -c --exclude=./.venv . | tar -x --no-same-owner -C /work && cd /work && exec scripts/develop \"$@\"", "develop"]

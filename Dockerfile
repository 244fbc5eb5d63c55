# The whole project in one image: a worker, and the servers of compose.yaml. docs/servers.md says how it is built and used.
#
#     docker build --tag train-mario:0.1.0 .
#     docker build --tag train-mario:0.1.0-cuda --build-arg TORCH=cuda .
#
# `--secret id=pip,src=FILE` gives pip a configuration, for instance one that names where torch's build for the CPU is. Without it
# the registry's torch is installed, with its CUDA libraries: that works on a CPU too, and takes 3 GB more.
FROM python:3.13.9-slim-bookworm AS base
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1


# The locked packages, with their hashes checked. This layer changes only with the lock files.
FROM base AS packages
ARG TORCH=cpu
RUN python -m venv /opt/mario
COPY constraints /source/constraints
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    sh /source/constraints/install.sh /opt/mario/bin/python "$TORCH"


# The wheel, built from what .dockerignore lets through by the setuptools that is locked.
FROM packages AS installed
COPY . /source
RUN /opt/mario/bin/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheels /source \
    && /opt/mario/bin/python -m pip install --quiet --no-deps --no-index /wheels/*.whl \
    && /opt/mario/bin/python -m pip check


FROM base
# tini passes signals on and reaps processes that have lost their parent.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --create-home mario \
    && install --directory --owner mario --group mario /var/lib/mario /var/lib/mario-artifacts /var/cache/mario
COPY --from=installed /opt/mario /opt/mario
ENV PATH=/opt/mario/bin:$PATH \
    MARIO_HOME=/var/lib/mario \
    NUMBA_CACHE_DIR=/var/cache/mario \
    DO_NOT_TRACK=true \
    MLFLOW_DISABLE_TELEMETRY=true \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    PREFECT_PLUGINS_ENABLED=true \
    PREFECT_PLUGINS_ALLOW=train_mario
USER 10001:10001
# An empty folder: Prefect copies the working directory of a container that executes a flow run.
WORKDIR /home/mario/empty
# The emulator is compiled once, here. On another kind of processor it is compiled again, which takes about a minute.
RUN python -c "import gymnasium, mario_env; \
    [gymnasium.make_vec('mario_env/SuperMarioBros-1-1-v0', 1, observation=kind).reset() for kind in ('frames', 'tiles')]"
VOLUME ["/var/lib/mario"]
ENTRYPOINT ["tini", "--"]
CMD ["mario", "worker", "mario"]
# Each service of compose.yaml has its own check. A container that executes one flow run has nothing to ask.
HEALTHCHECK NONE

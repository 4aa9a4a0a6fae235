# bids2xnat as a BIDS App. See docs/howto/container.md for how to build, pin and run it.
#
# Every package is locked by its hashes. What is left to choose is the base: pin it by its digest,
#   docker build --build-arg BASE=docker.io/library/python@sha256:... .

ARG BASE=docker.io/library/python:3.13-slim-trixie

FROM ${BASE} AS build
ARG SOURCE_DATE_EPOCH=1767225600
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_BUILD_ISOLATION=1 PIP_USE_PEP517=1 PIP_NO_COMPILE=1
WORKDIR /src
COPY requirements/build.txt requirements/image.txt requirements/
RUN python3 -m venv /build && \
    /build/bin/python -m pip install --quiet --require-hashes -r requirements/build.txt
RUN /build/bin/python -m pip wheel --quiet --require-hashes --wheel-dir /wheels -r requirements/image.txt
COPY pyproject.toml README.md LICENSE ./
COPY xnat_bids_push xnat_bids_push
RUN /build/bin/python -m pip wheel --quiet --no-deps --wheel-dir /wheels .
# Bytecode that names its source by hash, not by time, is the same in every build.
RUN python3 -m venv --without-pip /opt/bids2xnat && \
    /build/bin/python -m pip --python /opt/bids2xnat/bin/python install --quiet --no-index --no-deps /wheels/*.whl && \
    /opt/bids2xnat/bin/python -W ignore -m compileall -q --invalidation-mode unchecked-hash /opt/bids2xnat/lib

FROM ${BASE}
ARG VERSION=unreleased
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="bids2xnat" \
      org.opencontainers.image.description="Push BIDS datasets into XNAT: complete, proven, restartable." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
COPY --from=build /opt/bids2xnat /opt/bids2xnat
ENV PATH=/opt/bids2xnat/bin:/usr/local/bin:/usr/bin:/bin HOME=/tmp PYTHONDONTWRITEBYTECODE=1
# Nobody in particular; `docker run --user` takes any other, as no account is needed.
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["bids2xnat-app"]

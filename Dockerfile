# tap-zoho-crm, target-zoho-crm and zoho-crm on a small base: glibc, CA certificates and no shell. Airbyte's two
# programs are targets of their own, with a shell, since its platform starts connectors through one.
#
#   docker build -t zoho-crm-connector .
#   docker build --target source-zoho-crm -t source-zoho-crm .
#   docker build --target destination-zoho-crm -t destination-zoho-crm .
#   docker run --rm -v "$PWD:/pipeline:ro" -v zoho-crm-state:/state zoho-crm-connector tap-zoho-crm --config config.json
#
# /state is memory between runs: token, ledger, results. Without a volume there each run begins on an empty
# one; docs/orchestrators.md says what that costs.

FROM rust:1.95-slim-bookworm AS build
# `s3`, `parquet` or both, with a comma: README says what they are.
ARG FEATURES=""
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/build/target \
    cargo build --locked --release --bin zoho-crm --features "$FEATURES" \
    && mkdir -p /out/bin /out/state \
    && cp target/release/zoho-crm /out/bin/ \
    && ln -s zoho-crm /out/bin/tap-zoho-crm \
    && ln -s zoho-crm /out/bin/target-zoho-crm \
    && ln -s zoho-crm /out/bin/source-zoho-crm \
    && ln -s zoho-crm /out/bin/destination-zoho-crm

# The base with busybox; Airbyte runs connectors as user 1000.
FROM gcr.io/distroless/cc-debian12:debug-nonroot AS airbyte
COPY --from=build /out/bin/ /usr/local/bin/
COPY --from=build --chown=1000:1000 /out/state /state
ENV XDG_STATE_HOME=/state
USER 1000:1000
VOLUME /state
WORKDIR /state

FROM airbyte AS source-zoho-crm
ARG VERSION=0.1.0
LABEL io.airbyte.name="zoho-crm-connector/source-zoho-crm" \
      io.airbyte.version="$VERSION"
ENV AIRBYTE_ENTRYPOINT="source-zoho-crm"
ENTRYPOINT ["source-zoho-crm"]

FROM airbyte AS destination-zoho-crm
ARG VERSION=0.1.0
LABEL io.airbyte.name="zoho-crm-connector/destination-zoho-crm" \
      io.airbyte.version="$VERSION"
ENV AIRBYTE_ENTRYPOINT="destination-zoho-crm"
ENTRYPOINT ["destination-zoho-crm"]

# Debian 12 as above, so that the C library is no older than the one the programs are linked to.
FROM gcr.io/distroless/cc-debian12:nonroot
ARG VERSION=0.1.0
# The image's name in Airbyte's registry; its platform reads name and version from these two labels.
ARG NAME=zoho-crm-connector
LABEL io.airbyte.name="$NAME" \
      io.airbyte.version="$VERSION" \
      org.opencontainers.image.title="zoho-crm-connector" \
      org.opencontainers.image.description="Singer tap and target for Zoho CRM, with an operator's tool" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="$VERSION"
COPY --from=build /out/bin/ /usr/local/bin/
COPY --from=build --chown=65532:65532 /out/state /state
ENV XDG_STATE_HOME=/state
USER 65532:65532
VOLUME /state
WORKDIR /pipeline
CMD ["zoho-crm", "--help"]

# The images of docker-compose.yml. One build makes the filter and the tool.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
# Nothing is built here a second time.
ENV CARGO_INCREMENTAL=0
COPY . .
# What the packages share is compiled once, and only what the images need is kept.
RUN cargo build --locked --release --package xtask --package wsbalancer-cli \
    && target/release/xtask build \
    && mkdir /built \
    && cp target/release/wsbalancer target/wsbalancer.wasm /built \
    && rm -r target "${CARGO_HOME:-$HOME/.cargo}/registry"

FROM debian:bookworm-slim AS pod
COPY --from=build /built/wsbalancer /usr/local/bin/
USER 65532:65532
# A container is a pod: it goes by the container's name and address.
CMD ["sh", "-c", "POD_NAME=$(hostname) POD_IP=$(hostname -i) exec wsbalancer pods --listen 0.0.0.0:8080"]
HEALTHCHECK --interval=2s --timeout=2s --retries=5 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /metric HTTP/1.0\\r\\n\\r\\n' >&3 && grep -q agentsConnections <&3"]

FROM debian:bookworm-slim AS client
COPY --from=build /built/wsbalancer /usr/local/bin/
USER 65532:65532
ENTRYPOINT ["wsbalancer"]
CMD ["--help"]

FROM envoyproxy/envoy:v1.40.0 AS envoy
COPY --from=build /built/wsbalancer.wasm /etc/envoy/wsbalancer.wasm
COPY envoy/dns.yaml /etc/envoy/envoy.yaml
USER 101:101
# The image's own entry point changes to a user of its choice, for which it has to be root.
ENTRYPOINT ["envoy", "--config-path", "/etc/envoy/envoy.yaml"]
HEALTHCHECK --interval=2s --timeout=2s --retries=15 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9901 && printf 'GET /ready HTTP/1.1\\r\\nhost: admin\\r\\nconnection: close\\r\\n\\r\\n' >&3 && grep -q LIVE <&3"]

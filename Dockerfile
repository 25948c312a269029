# The proxy in an image: HAProxy from Debian, the server that drives it, and the command line.
#
#   docker build -t proxy .
#
# The server is the entry point; tini hands it the signals and reaps what HAProxy leaves behind. It
# runs as Debian's user "proxy", who may bind 80 and 443 in a container of its own network (Docker 20.10
# and later). With `--network host`, or with folders of root's mounted, add `--user root`.

FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --package proxy-server --package proxy-cli

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates haproxy tini \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/apt /var/log/dpkg.log \
 && install --directory --owner proxy --group proxy \
      /cfg /cfg/tmpl /certs /errorfiles /var/run/proxy /var/lib/proxy
COPY --from=build /src/target/release/proxy-server /src/target/release/proxyctl /usr/local/bin/
USER proxy
# 80 and 443 take the traffic, 8080 the changes.
EXPOSE 80 443 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 CMD ["proxyctl", "ready"]
# Last, so that another version takes all else from the cache.
ARG VERSION=unreleased
LABEL org.opencontainers.image.title="proxy" \
      org.opencontainers.image.description="A reverse proxy for services that come and go: HAProxy carries the traffic, Consul remembers the routes, any replica takes a change and every replica serves it." \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.source="https://github.com/docker-flow/proxy-rs" \
      org.opencontainers.image.documentation="https://github.com/docker-flow/proxy-rs/blob/main/deploy/README.md" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
ENTRYPOINT ["tini", "--", "proxy-server"]

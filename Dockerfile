# The image of anon-operator: one binary, a user without rights, nothing else.
#
#   docker build -t registry.example.com/anon-operator:0.1.0 .
#
# Both base images can be replaced, by a mirror or by images of one's own. The runtime needs glibc, libgcc, and CA certificates in
# /etc/ssl/certs, by which identity providers are checked (debian:bookworm-slim has none: install ca-certificates there):
#
#   --build-arg BUILD_IMAGE=… --build-arg RUNTIME_IMAGE=debian:bookworm-slim
#
# They belong together: the runtime's glibc must not be older than the builder's (here both are Debian 12).
ARG BUILD_IMAGE=docker.io/library/rust:1.95-slim-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
WORKDIR /src
# .dockerignore lets through what the binary is made of; rust-toolchain.toml stays out, so that rustup downloads no second toolchain.
COPY . .
# The caches are not part of a layer, so the binary is copied out of them. They outlive this build and are shared with builds of other
# commits, while cargo goes by the times of files: what came from the context is to be newer than whatever was built from other files.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    find src Cargo.toml Cargo.lock -type f -exec touch {} + \
    && cargo build --release --locked --bin anon-operator \
    && cp target/release/anon-operator /anon-operator

FROM ${RUNTIME_IMAGE}
LABEL org.opencontainers.image.title="anon-operator" \
      org.opencontainers.image.description="Identity platform as a Kubernetes operator" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /anon-operator /usr/local/bin/anon-operator
# Numeric, so that the kubelet can check runAsNonRoot.
USER 65532:65532
# 8080: validation, JWKS and API. 9090: health and metrics.
EXPOSE 8080 9090
ENTRYPOINT ["/usr/local/bin/anon-operator"]
CMD ["run"]

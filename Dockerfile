# The one binary without `inlet demo`, in an image without shell or package manager; it runs as an unprivileged user.
#
#   docker build -t inlet .
#   docker run --rm -v ./inlet.yml:/etc/inlet/inlet.yml:ro -v ./datalake:/datalake inlet run --config /etc/inlet/inlet.yml
FROM rust:1.95-bookworm AS build
WORKDIR /inlet
COPY . .
RUN cargo build --release --locked --package inlet --no-default-features && cp target/release/inlet /usr/local/bin/inlet

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /usr/local/bin/inlet /usr/local/bin/inlet
COPY configs /etc/inlet
ENV INLET_LOG_FORMAT=json
ENTRYPOINT ["/usr/local/bin/inlet"]

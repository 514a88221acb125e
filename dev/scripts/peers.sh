# Installs what `make compare` and `make bench` measure Inlet against. dev/scripts/setup.sh sources this file
# with `--compare` or `--copy`, and gives it its functions: the folders lie in the same cache, get their names only
# when they are complete, and carry the version in the name.

spark_version=3.5.7

# Python packages, pinned with everything they need, one folder for each list: `<name>-<checksum of the list>`.
python_list() { echo "$here/peers/$1.txt"; }
python_folder() { echo "peers-$1-$(cksum <"$(python_list "$1")" | cut -d' ' -f1)"; }

fill_python() {
  say "installing the Python packages of dev/scripts/peers/$python_name.txt with pip into $cache"
  PIP_ROOT_USER_ACTION=ignore python3 -m pip install -q --disable-pip-version-check --no-deps \
    --target "$1" --requirement "$(python_list "$python_name")" >&2
}

install_python() {
  local python_name=$1 folder
  folder=$(python_folder "$1")
  [ -d "$cache/$folder" ] || install_folder "$folder" fill_python
  point "peers-$1" "${folder#peers-"$1"-}"
}

fill_spark() {
  say "installing the jars of Spark $spark_version for Kafka and PostgreSQL with Maven into $cache (8 MB)"
  mvn -q -B -Dstyle.color=never -f "$here/peers/spark.xml" -Dspark.version="$spark_version" \
    org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DoutputDirectory="$1" -DincludeScope=runtime -DexcludeTransitive=true >&2
}

install_compare() {
  has mvn || install_packages maven
  python3 -m pip --version >/dev/null 2>&1 || install_packages python3-pip
  [ -d "$cache/spark-jars-$spark_version" ] || install_folder "spark-jars-$spark_version" fill_spark
  point spark-jars "$spark_version"
  install_python compare
}

# The copies use Spark and the reader of topics, too.
install_copy() {
  install_compare
  install_python copy
}

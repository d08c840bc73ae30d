# shellcheck shell=bash
# Builds the programs of the control plane from the Go modules in dev/. The cache
# is outside the checkout, so a fresh clone does not build them again.

CACHE=$(realpath -ms -- "${ANON_DEV_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/anon-operator}")
readonly CACHE

# The module of Kubernetes: that of the version that every change is tested with, or of an older one.
readonly KUBERNETES=kubernetes${ANON_DEV_KUBERNETES:+-$ANON_DEV_KUBERNETES}

# NAME MODULE PACKAGE
readonly PROGRAMS="etcd             etcd         go.etcd.io/etcd/server/v3
kube-apiserver           $KUBERNETES  k8s.io/kubernetes/cmd/kube-apiserver
kube-controller-manager  $KUBERNETES  k8s.io/kubernetes/cmd/kube-controller-manager
kubectl                  $KUBERNETES  k8s.io/kubernetes/cmd/kubectl
helm                     helm         helm.sh/helm/v4/cmd/helm"

# Additionally those of a node (`run --node`).
readonly NODE_PROGRAMS='kubelet           kubernetes  k8s.io/kubernetes/cmd/kubelet
kube-proxy                kubernetes  k8s.io/kubernetes/cmd/kube-proxy
kube-scheduler            kubernetes  k8s.io/kubernetes/cmd/kube-scheduler
containerd                containerd  github.com/containerd/containerd/v2/cmd/containerd
containerd-shim-runc-v2   containerd  github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2
ctr                       containerd  github.com/containerd/containerd/v2/cmd/ctr'

# The path of each program, by name.
declare -A PROGRAM=()

# version_of MODULE PATH: the version that MODULE/go.mod requires.
version_of() {
  awk -v path="$2" '
    { for (i = 1; i < NF; i++) if ($i == path && $(i + 1) ~ /^v[0-9]/) { print $(i + 1); exit } }
  ' "$ROOT/dev/$1/go.mod"
}

# ldflags MODULE: sets the version. Without it, the programs report v0.0.0-master,
# which Helm and version checks evaluate.
ldflags() {
  local version major minor package flags='-s -w'
  case $1 in
    "$KUBERNETES")
      version=$(version_of "$KUBERNETES" k8s.io/kubernetes)
      IFS=. read -r major minor _ <<<"${version#v}"
      for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        flags+=" -X $package.gitVersion=$version -X $package.gitTreeState=clean"
        flags+=" -X $package.gitMajor=$major -X $package.gitMinor=$minor"
      done
      ;;
    helm)
      flags+=" -X helm.sh/helm/v4/internal/version.version=$(version_of helm helm.sh/helm/v4)"
      ;;
    containerd)
      version=$(version_of containerd github.com/containerd/containerd/v2)
      flags+=" -X github.com/containerd/containerd/v2/version.Version=$version"
      ;;
  esac
  printf '%s' "$flags"
}

# bin_of MODULE: its directory in the cache. Each module has its own key, so that
# a new version of Helm does not rebuild Kubernetes.
bin_of() {
  local key
  key=$({
    cat "$ROOT/dev/$1/go.mod" "$ROOT/dev/$1/go.sum"
    ldflags "$1"
  } | sha256sum)
  printf '%s' "$CACHE/bin-$1-${key:0:12}"
}

# programs: prints the list of those that this command needs.
programs() {
  printf '%s\n' "$PROGRAMS"
  [[ $NODE == no ]] || printf '%s\n' "$NODE_PROGRAMS"
}

# find_programs: sets PROGRAM to the path at which each program is, or will be: in
# $KUBEBUILDER_ASSETS, on the PATH, or in the cache.
find_programs() {
  local name module package path assets=''
  # Absolute, because it is used in DIR/bin and PATH.
  [[ ! ${KUBEBUILDER_ASSETS:-} ]] || assets=$(realpath -ms -- "$KUBEBUILDER_ASSETS")
  while read -r name module package; do
    # The directory of envtest contains these three, so they need not be built.
    case $name in
      etcd | kube-apiserver | kubectl)
        if [[ $assets && -f $assets/$name && -x $assets/$name ]]; then
          PROGRAM[$name]=$assets/$name
          continue
        fi
        ;;
    esac
    path=$(bin_of "$module")/$name
    [[ -x $path ]] || path=$(installed "$name") || path=$(bin_of "$module")/$name
    PROGRAM[$name]=$path
  done < <(programs)
}

# build_programs: finds all programs, fetches the missing ones that are available
# prebuilt, and builds the others.
build_programs() {
  local name module package
  find_programs
  fetch_programs
  while read -r name module package; do
    [[ -x ${PROGRAM[$name]} ]] || build_program "$name" "$module" "$package" </dev/null
  done < <(programs)
}

# build_program NAME MODULE PACKAGE: builds into the cache, atomically.
build_program() {
  local name=$1 module=$2 package=$3 target=${PROGRAM[$1]} start=$SECONDS fd
  command -v go >/dev/null || die "Go is required to build $name: run dev/prerequisites"
  mkdir -p "${target%/*}"

  # Two concurrent launchers do not build the same program twice. (The Go tools
  # inherit the lock: if this launcher is killed, the next one waits for them.)
  exec {fd}>"${target%/*}/.lock"
  lock "$fd" "the build of $module"
  if [[ ! -x $target ]]; then
    say "building $name $(version_of "$module" "$(module_of "$package")")"
    go_build "$module" "$package" "$target"
    say "built $name in $((SECONDS - start)) s"
  fi
  exec {fd}>&-
}

# module_of PACKAGE: k8s.io/kubernetes/cmd/kubectl -> k8s.io/kubernetes
module_of() { printf '%s' "${1%/cmd/*}"; }

# go_build MODULE PACKAGE TARGET: builds next to the target, then renames.
#
# Settings of the user's other Go builds do not apply here.
go_build() {
  local module=$1 package=$2 target=$3 start=$SECONDS next=15 go
  SCRATCH=${target%/*}/.${target##*/}.partial
  # A launcher that was killed may have left one behind.
  rm -rf "$SCRATCH"
  mkdir "$SCRATCH"
  start_helper env -u GOOS -u GOARCH -u GOEXPERIMENT \
    CGO_ENABLED=0 GOTOOLCHAIN=local GOWORK=off GOFLAGS=-mod=readonly GOTMPDIR="$SCRATCH" \
    nice go build -C "$ROOT/dev/$module" -trimpath -buildvcs=false \
    -ldflags "$(ldflags "$module")" -o "$SCRATCH/program" "$package" >&2
  go=$!
  while kill -0 "$go" 2>/dev/null; do
    if ((SECONDS - start >= next)); then
      say "building ${target##*/}: $((SECONDS - start)) s (all programs take about 10 minutes on 2 cores, once)"
      next=$((next + 15))
    fi
    sleep 0.2
  done
  wait "$go" || die "could not build ${target##*/}"
  mv -f "$SCRATCH/program" "$target"
  remove_scratch
}

# The directory in which a program is being built or fetched; otherwise empty.
SCRATCH=''
remove_scratch() {
  [[ -z $SCRATCH ]] || rm -rf "$SCRATCH"
  SCRATCH=''
}

# shellcheck shell=bash
# Two nodes for `run --node`, so that Pods run and a node can be drained: for each,
# containerd and kubelet; for both, kube-proxy and kube-scheduler.
#
# Everything, including the launcher and its command, is in a network namespace
# and a mount namespace of its own. There is no egress from that network, and no
# mount shows outside. Both disappear with their last process, and with them every
# interface, route, nftables rule, mount, and everything in tmpfs.
#
# Only cgroups outlive their processes. Those of a cluster are below one that is
# named after its directory.

readonly NODES=(1 2)
# Of the API server, and of the first node.
readonly NODE_ADDRESS=10.250.0.1
readonly NODE_ROLES=(kubelet-1 kubelet-2 kube-proxy scheduler containerd-1 containerd-2)

# node_refusal: prints why no node can run on this machine; nothing if it can.
node_refusal() {
  local program
  if ((EUID != 0)); then
    printf 'only root can run a node'
  elif ! unshare --net --mount --propagation private true 2>/dev/null; then
    printf 'namespaces cannot be created here'
  elif [[ ! $(cgroup_roots) ]]; then
    printf 'no cgroup can be created here'
  else
    # Debian has some of them in /usr/sbin, which is not in everyone's PATH.
    for program in runc nft conntrack ip; do
      PATH=$PATH:/usr/sbin command -v "$program" >/dev/null ||
        { printf '%s is not installed: run dev/prerequisites node' "$program" && return; }
    done
    [[ -x $(cni_plugins)/ptp ]] || printf 'the CNI plugins are not installed: run dev/prerequisites node'
  fi
}

# cni_plugins: the directory of the CNI plugins.
cni_plugins() {
  local folder
  for folder in /usr/lib/cni /opt/cni/bin; do
    [[ ! -x $folder/ptp ]] || break
  done
  printf '%s' "$folder"
}

# enter_namespaces ARGUMENT…: runs the launcher again, with these arguments, in the
# namespaces of a node. The pid remains the same, so that it can be interrupted as
# before. Returns if the launcher is there already.
enter_namespaces() {
  [[ ${ANON_DEV_NAMESPACES:-} != "$$" ]] || return 0
  exec unshare --net --mount --propagation private \
    env ANON_DEV_NAMESPACES="$$" PATH="$PATH:/usr/sbin" "$ROOT/dev/cluster" "$@"
}

# prepare_nodes: sets up the namespaces.
prepare_nodes() {
  local node
  # Mounts of the kubelet are visible in containers and the other way round.
  mount --make-rshared /
  NODE_DIR=$DIR/node
  mkdir -p "$NODE_DIR"
  # On tmpfs, overlayfs works wherever TMPDIR is.
  mount -t tmpfs -o mode=700 tmpfs "$NODE_DIR"
  for node in "${NODES[@]}"; do
    mkdir "$NODE_DIR/$node"
  done
  hide_directories
  hide_sysctls
  create_network
  create_cgroups
}

# hide_directories: the node writes to some fixed paths, which the machine may use
# for a node of its own.
hide_directories() {
  local path
  mount -t tmpfs -o mode=755 tmpfs /run
  mount -t tmpfs -o mode=755 tmpfs /var/log
  for path in /var/lib /usr/libexec; do
    mkdir -p "$NODE_DIR/overlay$path/"{upper,work}
    mount -t overlay -o "lowerdir=$path,upperdir=$NODE_DIR/overlay$path/upper,workdir=$NODE_DIR/overlay$path/work" \
      overlay "$path"
  done
}

# hide_sysctls: the kubelet sets these for the whole machine if they have other
# values. Here, it finds the values that it wants.
hide_sysctls() {
  local setting
  mkdir "$NODE_DIR/sysctls"
  for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    printf '%s\n' "${setting#*=}" >"$NODE_DIR/sysctls/${setting//[\/=]/-}"
    mount --bind "$NODE_DIR/sysctls/${setting//[\/=]/-}" "/proc/sys/${setting%=*}"
  done
}

create_network() {
  local node
  ip link set lo up
  # A bridge without ports, because the kernel of a container may lack dummy links.
  ip link add k8s0 type bridge
  for node in "${NODES[@]}"; do
    ip address add "10.250.0.$node/32" dev k8s0
  done
  ip link set k8s0 up
  # The address of a Service needs a route before nftables replaces it.
  ip route add default dev k8s0
  echo 1 >/proc/sys/net/ipv4/ip_forward
}

# --- cgroups ------------------------------------------------------------------

# cgroup_roots: prints the root of each hierarchy with controllers: one in version 2,
# several in version 1.
cgroup_roots() {
  if [[ $(stat --file-system --format=%T /sys/fs/cgroup 2>/dev/null) == cgroup2fs ]]; then
    [[ ! -w /sys/fs/cgroup/cgroup.subtree_control ]] || echo /sys/fs/cgroup
  else
    findmnt --noheadings --output=TARGET --types=cgroup --list | grep ^/sys/fs/cgroup/ || true
  fi
}

# The cgroup of the cluster in $DIR.
cgroup() { printf 'anon-dev-%s' "${DIR##*/}"; }

# create_cgroups: each kubelet expects its own in every hierarchy.
create_cgroups() {
  local root node
  for root in $(cgroup_roots); do
    create_cgroup "$root" "$(cgroup)"
    for node in "${NODES[@]}"; do
      create_cgroup "$root/$(cgroup)" "$node"
    done
  done
}

# create_cgroup PARENT NAME
create_cgroup() {
  local file
  mkdir "$1/$2"
  # Version 1 does not inherit these, and no process can enter without.
  for file in cpuset.cpus cpuset.mems; do
    [[ ! -e $1/cgroup.clone_children || ! -e $1/$file ]] || cat "$1/$file" >"$1/$2/$file"
  done
}

# remove_cgroup: kills everything in the cgroup, which are the containers, and
# removes it.
remove_cgroup() {
  until_deadline 20 empty_cgroup || die "cannot remove cgroup $(cgroup)"
}

# empty_cgroup: one attempt. A killed process takes a moment to leave.
empty_cgroup() {
  local directories found
  # In version 2, or in the hierarchies of version 1 (and of version 2 beside it).
  mapfile -t directories < <(find /sys/fs/cgroup -maxdepth 2 -type d -name "$(cgroup)" 2>/dev/null)
  ((${#directories[@]})) || return 0
  mapfile -t found < <(find "${directories[@]}" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u)
  ((${#found[@]} == 0)) || kill -s KILL "${found[@]}" 2>/dev/null || true
  find "${directories[@]}" -depth -type d -exec rmdir {} + 2>/dev/null
}

# --- the processes ------------------------------------------------------------

# start_nodes: starts the processes, and waits until the nodes are Ready.
start_nodes() {
  local node
  say 'building the images of the operator and of the tests'
  build_images
  say 'starting containerd, kubelet, kube-proxy and kube-scheduler'
  for node in "${NODES[@]}"; do
    start_containerd "$node"
  done
  import_images
  for node in "${NODES[@]}"; do
    start_kubelet "$node"
  done
  start_kube_proxy
  start_scheduler
  until_started nodes_settled || true
  nodes_ready || {
    show_log "${NODE_ROLES[@]/#/$DIR/}"
    die 'the nodes did not become Ready'
  }
}

nodes_ready() {
  [[ $(kubectl get nodes 2>/dev/null \
    --output=jsonpath='{.items[*].status.conditions[?(@.type=="Ready")].status}') == 'True True' ]]
}

# nodes_settled: they are ready, or one of the processes has exited.
nodes_settled() {
  local role
  nodes_ready && return
  for role in "${NODE_ROLES[@]}"; do
    runs "$role@$DIR" || return 0
  done
  return 1
}

# client_certificate USER SUBJECT EXTENSION…: with a kubeconfig.
client_certificate() {
  signed_certificate "$DIR/pki/$1" "${@:2}"
  kubeconfig_of "$1" | write_private "$DIR/pki/$1.kubeconfig"
}

build_images() {
  local image
  for image in pause operator client; do
    ANON_OPERATOR_BIN=$OPERATOR_BIN run_helper "$ROOT/dev/image" "$image" "$NODE_DIR/$image.tar" ||
      die "could not build the image $image"
  done
}

import_images() {
  local node archive
  for node in "${NODES[@]}"; do
    for archive in "$NODE_DIR"/*.tar; do
      run_helper_into "$DIR/import.log" "${PROGRAM[ctr]}" --address="$NODE_DIR/$node/containerd.sock" \
        --namespace=k8s.io images import --local=true "$archive" || {
        show_log "$DIR/import.log" "$DIR/containerd-$node.log"
        die "could not import $archive"
      }
    done
  done
}

# start_containerd NODE
start_containerd() {
  local folder=$NODE_DIR/$1
  mkdir "$folder/cni"
  # Routed, not bridged: otherwise the response of a Service to a Pod of the same
  # node would bypass nftables, and arrive from another address.
  cat >"$folder/cni/10-pods.conflist" <<CNI
{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "ptp", "ipam": {
  "type": "host-local", "dataDir": "$folder/addresses",
  "ranges": [[{"subnet": "10.244.$1.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
CNI
  # restrict_oom_score_adj: without it, no sandbox starts where CAP_SYS_RESOURCE is
  # missing.
  cat >"$folder/containerd.toml" <<TOML
version = 3
root = "$folder/containerd"
state = "$folder/containerd-state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri"]
[grpc]
  address = "$folder/containerd.sock"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "localhost/pause:dev"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["$(cni_plugins)"]
    conf_dir = "$folder/cni"
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        BinaryName = "$(command -v runc)"
        SystemdCgroup = false
TOML
  # containerd looks for its shim in PATH.
  spawn "containerd-$1" env PATH="${PROGRAM[containerd-shim-runc-v2]%/*}:$PATH" \
    "${PROGRAM[containerd]}" --config="$folder/containerd.toml"
  until_started containerd_ready "$1" || {
    show_log "$DIR/containerd-$1.log"
    die 'containerd did not start'
  }
}

containerd_ready() { "${PROGRAM[ctr]}" --address="$NODE_DIR/$1/containerd.sock" version >/dev/null 2>&1; }

# start_kubelet NODE
start_kubelet() {
  local folder=$NODE_DIR/$1 name=node$1 address=10.250.0.$1
  client_certificate "kubelet-$1" "/O=system:nodes/CN=system:node:$name" \
    "subjectAltName = DNS:$name, IP:$address" 'extendedKeyUsage = serverAuth, clientAuth'
  cat >"$folder/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://$folder/containerd.sock
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $DIR/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $DIR/pki/kubelet-$1.crt
tlsPrivateKeyFile: $DIR/pki/kubelet-$1.key
address: $address
healthzPort: 0
cgroupDriver: cgroupfs
cgroupRoot: /$(cgroup)/$1
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
maxOpenFiles: 20000
resolvConf: ""
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
configMapAndSecretChangeDetectionStrategy: Watch
volumePluginDir: $folder/volume-plugins
podLogsDir: $folder/logs
YAML
  spawn "kubelet-$1" "${PROGRAM[kubelet]}" --config="$folder/kubelet.yaml" \
    --kubeconfig="$DIR/pki/kubelet-$1.kubeconfig" --hostname-override="$name" \
    --node-ip="$address" --root-dir="$folder/kubelet" --cert-dir="$folder/kubelet-pki"
}

# start_kube_proxy: one for both nodes, because they have one network namespace.
start_kube_proxy() {
  client_certificate kube-proxy /CN=system:kube-proxy 'extendedKeyUsage = clientAuth'
  cat >"$NODE_DIR/kube-proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $DIR/pki/kube-proxy.kubeconfig}
mode: nftables
bindAddress: $NODE_ADDRESS
hostnameOverride: node1
clusterCIDR: 10.244.0.0/16
nodePortAddresses: [$NODE_ADDRESS/32]
oomScoreAdj: 0
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
YAML
  spawn kube-proxy "${PROGRAM[kube-proxy]}" --config="$NODE_DIR/kube-proxy.yaml"
}

start_scheduler() {
  local kubeconfig=$DIR/pki/scheduler.kubeconfig
  client_certificate scheduler /CN=system:kube-scheduler 'extendedKeyUsage = clientAuth'
  spawn scheduler "${PROGRAM[kube-scheduler]}" --kubeconfig="$kubeconfig" \
    --authentication-kubeconfig="$kubeconfig" --authorization-kubeconfig="$kubeconfig" \
    --bind-address=127.0.0.1 --leader-elect=false
}

# stop_nodes: terminates the processes and the containers.
stop_nodes() {
  # The kubelets first, because they would restart what is killed next. The shims
  # have the mark of containerd.
  terminate 10 "kubelet-1@$DIR" "kubelet-2@$DIR" "kube-proxy@$DIR" "scheduler@$DIR"
  remove_cgroup
  terminate 10 "containerd-1@$DIR" "containerd-2@$DIR"
  # So that the directory can be removed. In other mount namespaces, it is empty.
  umount --recursive --lazy "$DIR/node" 2>/dev/null || true
}

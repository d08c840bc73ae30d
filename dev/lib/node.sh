# shellcheck shell=bash
# A node for `run --node`: containerd, kubelet, kube-proxy and kube-scheduler, so
# that Pods run.
#
# Everything, including the launcher and its command, is in a network namespace
# and a mount namespace of its own. There is no way out of that network, and no
# mount shows outside. Both disappear with their last process, and with them every
# interface, route, nftables rule, mount, and everything in tmpfs.
#
# Only cgroups outlive their processes. Those of a cluster are below one that is
# named after its directory.

readonly NODE_NAME=node1
# Of the node and the API server. Private addresses that no test uses otherwise.
readonly NODE_ADDRESS=10.250.0.1
readonly POD_NETWORK=10.244.0.0/24
readonly NODE_ROLES=(kubelet kube-proxy scheduler containerd)

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

# prepare_node: sets up the namespaces, and creates the files of the node.
prepare_node() {
  # Mounts of the kubelet are visible in containers and the other way round.
  mount --make-rshared /
  NODE_DIR=$DIR/node
  mkdir -p "$NODE_DIR"
  # On tmpfs, overlayfs works wherever TMPDIR is.
  mount -t tmpfs -o mode=700 tmpfs "$NODE_DIR"
  hide_directories
  hide_sysctls
  create_network
  create_cgroup
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
  ip link set lo up
  # A bridge without ports, because the kernel of a container may lack dummy links.
  ip link add k8s0 type bridge
  ip address add "$NODE_ADDRESS/32" dev k8s0
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
cgroup() { printf '%s' "${DIR##*/}"; }

# create_cgroup: the kubelet expects it in every hierarchy.
create_cgroup() {
  local root file
  for root in $(cgroup_roots); do
    mkdir -p "$root/$(cgroup)"
    # Version 1 does not inherit these, and no process can enter without.
    for file in cpuset.cpus cpuset.mems; do
      [[ ! -e $root/cgroup.clone_children || ! -e $root/$file ]] ||
        cat "$root/$file" >"$root/$(cgroup)/$file"
    done
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
  # A cgroup root, a hierarchy of version 1, or version 2 beside version 1.
  mapfile -t directories < <(compgen -G "/sys/fs/cgroup/$(cgroup)"; compgen -G "/sys/fs/cgroup/*/$(cgroup)")
  ((${#directories[@]})) || return 0
  mapfile -t found < <(find "${directories[@]}" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u)
  ((${#found[@]} == 0)) || kill -s KILL "${found[@]}" 2>/dev/null || true
  find "${directories[@]}" -depth -type d -exec rmdir {} + 2>/dev/null
}

# --- the processes ------------------------------------------------------------

# start_node: starts its processes, and waits until the node is Ready.
start_node() {
  say 'starting containerd, kubelet, kube-proxy and kube-scheduler'
  create_node_pki
  start_containerd
  start_kubelet
  start_kube_proxy
  start_scheduler
  until_deadline 60 node_settled || true
  node_ready || {
    show_log "$DIR"/{containerd,kubelet,kube-proxy,scheduler}.log
    die 'the node did not become Ready'
  }
}

node_ready() {
  [[ $(kubectl get node "$NODE_NAME" \
    --output=jsonpath='{.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null) == True ]]
}

# node_settled: it is ready, or one of its processes has exited.
node_settled() {
  local role
  node_ready && return
  for role in "${NODE_ROLES[@]}"; do
    runs "$role@$DIR" || return 0
  done
  return 1
}

create_node_pki() {
  local user
  signed_certificate "$DIR/pki/kubelet" "/O=system:nodes/CN=system:node:$NODE_NAME" \
    "subjectAltName = DNS:$NODE_NAME, IP:$NODE_ADDRESS" 'extendedKeyUsage = serverAuth, clientAuth'
  for user in kube-proxy scheduler; do
    signed_certificate "$DIR/pki/$user" "/CN=system:kube-${user#kube-}" 'extendedKeyUsage = clientAuth'
  done
  for user in kubelet kube-proxy scheduler; do
    kubeconfig_of "$user" | write_private "$DIR/pki/$user.kubeconfig"
  done
}

start_containerd() {
  local folder=$NODE_DIR/containerd
  mkdir -p "$folder/cni"
  # Routed, not bridged: otherwise the response of a Service to a Pod of the same
  # node would bypass nftables, and arrive from another address.
  cat >"$folder/cni/10-pods.conflist" <<CNI
{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "ptp", "ipam": {
  "type": "host-local", "dataDir": "$NODE_DIR/cni",
  "ranges": [[{"subnet": "$POD_NETWORK"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
CNI
  # restrict_oom_score_adj: without it, no sandbox starts where CAP_SYS_RESOURCE is
  # missing.
  cat >"$folder/config.toml" <<TOML
version = 3
root = "$folder/root"
state = "$folder/state"
[grpc]
  address = "$folder/socket"
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
  spawn containerd env PATH="${PROGRAM[containerd-shim-runc-v2]%/*}:$PATH" \
    "${PROGRAM[containerd]}" --config="$folder/config.toml"
  until_deadline 60 containerd_ready || {
    show_log "$DIR/containerd.log"
    die 'containerd did not start'
  }
  import_image pause
  import_image operator
  import_image client
}

ctr() { "${PROGRAM[ctr]}" --address="$NODE_DIR/containerd/socket" --namespace=k8s.io "$@"; }

containerd_ready() { ctr version >/dev/null 2>&1; }

# import_image NAME: one of those that dev/image builds.
import_image() {
  ANON_OPERATOR_BIN=$OPERATOR_BIN run_helper "$ROOT/dev/image" "$1" "$NODE_DIR/$1.tar" &&
    ctr images import --local=true "$NODE_DIR/$1.tar" >/dev/null || die "could not import the image of the $1"
}

start_kubelet() {
  mkdir -p "$NODE_DIR/kubelet"
  cat >"$NODE_DIR/kubelet/config.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://$NODE_DIR/containerd/socket
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $DIR/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $DIR/pki/kubelet.crt
tlsPrivateKeyFile: $DIR/pki/kubelet.key
address: $NODE_ADDRESS
cgroupDriver: cgroupfs
cgroupRoot: /$(cgroup)
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
maxOpenFiles: 20000
resolvConf: ""
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
configMapAndSecretChangeDetectionStrategy: Watch
volumePluginDir: $NODE_DIR/kubelet/plugins-exec
podLogsDir: $NODE_DIR/kubelet/logs
YAML
  spawn kubelet "${PROGRAM[kubelet]}" --config="$NODE_DIR/kubelet/config.yaml" \
    --kubeconfig="$DIR/pki/kubelet.kubeconfig" --hostname-override="$NODE_NAME" \
    --node-ip="$NODE_ADDRESS" --root-dir="$NODE_DIR/kubelet" --cert-dir="$NODE_DIR/kubelet/pki"
}

start_kube_proxy() {
  cat >"$NODE_DIR/kube-proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $DIR/pki/kube-proxy.kubeconfig}
mode: nftables
bindAddress: $NODE_ADDRESS
hostnameOverride: $NODE_NAME
clusterCIDR: $POD_NETWORK
nodePortAddresses: [$NODE_ADDRESS/32]
oomScoreAdj: 0
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
YAML
  spawn kube-proxy "${PROGRAM[kube-proxy]}" --config="$NODE_DIR/kube-proxy.yaml"
}

start_scheduler() {
  local kubeconfig=$DIR/pki/scheduler.kubeconfig
  spawn scheduler "${PROGRAM[kube-scheduler]}" --kubeconfig="$kubeconfig" \
    --authentication-kubeconfig="$kubeconfig" --authorization-kubeconfig="$kubeconfig" \
    --bind-address=127.0.0.1 --leader-elect=false
}

# stop_node: terminates its processes and the containers.
stop_node() {
  # The kubelet first, because it would restart what is killed next. The shims have
  # the mark of containerd.
  terminate 10 "kubelet@$DIR" "kube-proxy@$DIR" "scheduler@$DIR"
  remove_cgroup
  terminate 10 "containerd@$DIR"
  # So that the directory can be removed. In other mount namespaces, it is empty.
  umount --recursive --lazy "$DIR/node" 2>/dev/null || true
}

# shellcheck shell=bash
# etcd, kube-apiserver and kube-controller-manager. Without a node, there is no
# scheduler and no kubelet: Deployments create Pods, and the Pods stay Pending.

readonly CONTROL_PLANE=(controller-manager apiserver etcd)

# start_controlplane: starts all three, and writes $DIR/admin.kubeconfig.
start_controlplane() {
  local attempt
  create_pki
  for attempt in 1 2 3 4 5; do
    if start_apiserver; then
      kubeconfig_of admin | write_private "$DIR/admin.kubeconfig"
      start_controller_manager
      return
    fi
    terminate 2 "apiserver@$DIR" "etcd@$DIR"
    # Another process took a port after free_port and before the bind: retry.
    grep -qsi 'address already in use' "$DIR/apiserver.log" "$DIR/etcd.log" || break
    say "a port was already in use (attempt $attempt): trying other ports"
  done
  show_log "$DIR/etcd.log" "$DIR/apiserver.log"
  die 'the control plane did not start'
}

# start_apiserver: starts etcd and kube-apiserver. Fails if one of them exits, or
# if they are not ready in time.
start_apiserver() {
  local pki=$DIR/pki etcd_port peer_port flags
  API_PORT=$(free_port)
  etcd_port=$(free_port)
  peer_port=$(free_port)
  rm -rf "$DIR/data"

  # TLS with a CA of this cluster: other users of the machine cannot read the
  # Secrets in etcd, and a lost race for a port cannot connect two clusters.
  spawn etcd "${PROGRAM[etcd]}" \
    --data-dir="$DIR/data" --unsafe-no-fsync --log-level=warn \
    --listen-client-urls="https://127.0.0.1:$etcd_port" \
    --advertise-client-urls="https://127.0.0.1:$etcd_port" \
    --listen-peer-urls="https://127.0.0.1:$peer_port" \
    --initial-advertise-peer-urls="https://127.0.0.1:$peer_port" \
    --initial-cluster="default=https://127.0.0.1:$peer_port" \
    --cert-file="$pki/server.crt" --key-file="$pki/server.key" \
    --trusted-ca-file="$pki/ca.crt" --client-cert-auth \
    --peer-cert-file="$pki/server.crt" --peer-key-file="$pki/server.key" \
    --peer-trusted-ca-file="$pki/ca.crt" --peer-client-cert-auth

  if [[ $NODE == yes ]]; then
    # Pods reach it through the `kubernetes` Service.
    API_HOST=$NODE_ADDRESS
    flags=('--authorization-mode=Node,RBAC' --enable-admission-plugins=NodeRestriction
      --kubelet-client-certificate="$pki/admin.crt" --kubelet-client-key="$pki/admin.key"
      --kubelet-certificate-authority="$pki/ca.crt" --kubelet-preferred-address-types=InternalIP)
  else
    # kube-apiserver refuses to publish a loopback address for the `kubernetes`
    # Service, so it publishes none.
    API_HOST=127.0.0.1
    flags=(--authorization-mode=RBAC --endpoint-reconciler-type=none)
  fi
  spawn apiserver "${PROGRAM[kube-apiserver]}" \
    --bind-address="$API_HOST" --secure-port="$API_PORT" \
    --advertise-address="$API_HOST" "${flags[@]}" \
    --etcd-servers="https://127.0.0.1:$etcd_port" --etcd-cafile="$pki/ca.crt" \
    --etcd-certfile="$pki/admin.crt" --etcd-keyfile="$pki/admin.key" \
    --tls-cert-file="$pki/server.crt" --tls-private-key-file="$pki/server.key" \
    --client-ca-file="$pki/ca.crt" \
    --service-account-issuer=https://kubernetes.default.svc \
    --service-account-key-file="$pki/sa.pub" \
    --service-account-signing-key-file="$pki/sa.key" \
    --service-cluster-ip-range=10.0.0.0/24 --allow-privileged=true --profiling=false \
    --audit-policy-file="$ROOT/dev/audit-policy.yaml" --audit-log-path="$DIR/audit.log"

  until_started apiserver_settled
  apiserver_ready
}

# apiserver_settled: it is ready, or one of the two processes has exited.
apiserver_settled() {
  apiserver_ready || ! { runs "etcd@$DIR" && runs "apiserver@$DIR"; }
}

# apiserver_ready: the CA distinguishes this API server from that of another
# cluster on the same port. No command substitution, like in find_processes.
apiserver_ready() {
  curl --fail --silent --output /dev/null --max-time 5 --noproxy '*' \
    --cacert "$DIR/pki/ca.crt" "https://$API_HOST:$API_PORT/readyz"
}

# start_controller_manager: without it there is no garbage collection, Deployments
# get no Pods, and a deleted namespace stays Terminating. It does not listen
# (port 0): its metrics are not needed, and every port may already be in use. With
# its default rate limit, the start would take four seconds longer.
start_controller_manager() {
  kubeconfig_of controller-manager | write_private "$DIR/pki/controller-manager.kubeconfig"
  spawn controller-manager "${PROGRAM[kube-controller-manager]}" \
    --kubeconfig="$DIR/pki/controller-manager.kubeconfig" \
    --bind-address=127.0.0.1 --secure-port=0 --leader-elect=false \
    --kube-api-qps=500 --kube-api-burst=1000 \
    --use-service-account-credentials=true \
    --service-account-private-key-file="$DIR/pki/sa.key" --root-ca-file="$DIR/pki/ca.crt"
}

# controlplane_healthy: all three processes run, and the API server is ready.
controlplane_healthy() {
  local role
  for role in "${CONTROL_PLANE[@]}"; do
    runs "$role@$DIR" || return 1
  done
  apiserver_ready
}

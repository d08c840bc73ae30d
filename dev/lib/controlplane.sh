# shellcheck shell=bash
# etcd, kube-apiserver and kube-controller-manager. There is no scheduler and no
# kubelet: Deployments make Pods, and the Pods stay Pending.

readonly CONTROL_PLANE=(controller-manager apiserver etcd)

# start_controlplane: leaves a cluster that answers, and $DIR/admin.kubeconfig.
start_controlplane() {
  local attempt
  make_pki
  for attempt in 1 2 3 4 5; do
    if start_apiserver; then
      kubeconfig_of admin | private "$DIR/admin.kubeconfig"
      start_controller_manager
      return
    fi
    end 2 "apiserver@$DIR" "etcd@$DIR"
    # Somebody else took a port between our look and the bind: others, then.
    grep -qsi 'address already in use' "$DIR/apiserver.log" "$DIR/etcd.log" || break
    say "a port was taken meanwhile (attempt $attempt): trying others"
  done
  show_log "$DIR/etcd.log" "$DIR/apiserver.log"
  die 'the control plane did not start'
}

# start_apiserver: with its etcd. Fails if one of the two ends, or is not ready
# in time.
start_apiserver() {
  local pki=$DIR/pki etcd_port peer_port
  API_PORT=$(free_port)
  etcd_port=$(free_port)
  peer_port=$(free_port)
  rm -rf "$DIR/data"

  # TLS with this cluster's own authority: nobody else on the machine reads the
  # Secrets in there, and a lost race for the port cannot join two clusters.
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

  # --advertise-address and --endpoint-reconciler-type: it refuses to publish a
  # loopback address as the `kubernetes` Service, so it publishes nothing.
  spawn apiserver "${PROGRAM[kube-apiserver]}" \
    --bind-address=127.0.0.1 --secure-port="$API_PORT" \
    --advertise-address=127.0.0.1 --endpoint-reconciler-type=none \
    --etcd-servers="https://127.0.0.1:$etcd_port" --etcd-cafile="$pki/ca.crt" \
    --etcd-certfile="$pki/admin.crt" --etcd-keyfile="$pki/admin.key" \
    --tls-cert-file="$pki/server.crt" --tls-private-key-file="$pki/server.key" \
    --client-ca-file="$pki/ca.crt" --authorization-mode=RBAC \
    --service-account-issuer=https://kubernetes.default.svc \
    --service-account-key-file="$pki/sa.pub" \
    --service-account-signing-key-file="$pki/sa.key" \
    --service-cluster-ip-range=10.0.0.0/24 --allow-privileged=true --profiling=false \
    --audit-policy-file="$ROOT/dev/audit-policy.yaml" --audit-log-path="$DIR/audit.log"

  until_deadline 60 apiserver_settled
  apiserver_ready
}

# apiserver_settled: there is nothing left to wait for, good or bad.
apiserver_settled() {
  apiserver_ready || ! { runs "etcd@$DIR" && runs "apiserver@$DIR"; }
}

# apiserver_ready: the certificate tells ours from another one on the same port.
apiserver_ready() {
  [[ $(curl -s --max-time 5 --noproxy '*' --cacert "$DIR/pki/ca.crt" \
    "https://127.0.0.1:$API_PORT/readyz") == ok ]]
}

# start_controller_manager: without it there is no garbage collection, there are
# no Pods for a Deployment, and a deleted namespace stays for ever. It serves
# nothing (port 0): its metrics are not needed and a port is a race less. Its
# default rate limit alone would take four seconds of the start.
start_controller_manager() {
  kubeconfig_of controller-manager | private "$DIR/pki/controller-manager.kubeconfig"
  spawn controller-manager "${PROGRAM[kube-controller-manager]}" \
    --kubeconfig="$DIR/pki/controller-manager.kubeconfig" \
    --bind-address=127.0.0.1 --secure-port=0 --leader-elect=false \
    --kube-api-qps=500 --kube-api-burst=1000 \
    --use-service-account-credentials=true \
    --service-account-private-key-file="$DIR/pki/sa.key" --root-ca-file="$DIR/pki/ca.crt"
}

# controlplane_healthy: all three run and the API answers.
controlplane_healthy() {
  local role
  for role in "${CONTROL_PLANE[@]}"; do
    runs "$role@$DIR" || return 1
  done
  apiserver_ready
}

# shellcheck shell=bash
# One cluster from begin to end: its directory, what is in it, and its end.

# A file that says: this directory was made by the launcher and may be removed.
readonly OURS=.anon-dev

# check_directory: $DIR is free or ours, so that we may fill and remove it.
check_directory() {
  if [[ -e $DIR && ! -e $DIR/$OURS && -n $(ls -A "$DIR") ]]; then
    die "$DIR is not a directory of dev/cluster: choose another --dir"
  fi
}

# open_directory: $DIR, private.
open_directory() {
  mkdir -p "$DIR"
  chmod 700 "$DIR"
  : >"$DIR/$OURS"
}

# build: what a cluster is made of.
build() {
  build_programs
  build_operator
}

# bring_up FLAG…: whatever of the cluster is not there yet.
bring_up() {
  if [[ ! -f $DIR/state ]] || ! resume; then
    # Also what is left of a run that was killed, or of a directory taken away.
    ON_EXIT=discard
    stop_cluster
    remove_directory
    open_directory
    say 'starting etcd, kube-apiserver and kube-controller-manager'
    choose_operator_ports
    start_controlplane
  fi
  install_chart
  make_identities
  start_operator "$@"
  write_state
  write_environment
}

# resume: takes over the cluster in $DIR, if all of it lives.
resume() {
  # shellcheck disable=SC1091
  source "$DIR/state"
  controlplane_healthy && return
  say 'the control plane in there does not run any more: starting afresh'
  return 1
}

write_state() {
  printf '%s\n' "API_PORT=$API_PORT" "HTTP_PORT=$HTTP_PORT" "ADMIN_PORT=$ADMIN_PORT" >"$DIR/state"
}

# write_environment: DIR/env, to be sourced, and DIR/bin for its PATH.
write_environment() {
  local name
  mkdir -p "$DIR/bin"
  for name in kubectl helm; do
    ln -sfn "${PROGRAM[$name]}" "$DIR/bin/$name"
  done
  {
    export_line KUBECONFIG "$DIR/admin.kubeconfig"
    # Ports are reused by other clusters, and kubectl remembers what it
    # discovered by the port: not in the user's home, then.
    export_line KUBECACHEDIR "$DIR/kube-cache"
    # shellcheck disable=SC2016
    printf 'export PATH=%s:"$PATH"\n' "$(quote "$DIR/bin:${OPERATOR_BIN%/*}")"
    export_line ANON_DEV_DIR "$DIR"
    export_line ANON_AUDIT_LOG "$DIR/audit.log"
    export_line ANON_OPERATOR_ACCOUNT "$NAMESPACE:$ACCOUNT"
    export_line ANON_OPERATOR_PODS "$(list "${PODS[@]}")"
    export_line ANON_OPERATOR_KUBECONFIGS "$(list "$DIR"/operator-*.kubeconfig)"
    if [[ $START_OPERATOR == yes ]]; then
      export_line ANON_API_URL "$(operator_url)"
      export_line ANON_VALIDATOR_URL "$(operator_url)"
      export_line ANON_METRICS_URL "http://127.0.0.1:$ADMIN_PORT/metrics"
    fi
    no_proxy_lines
  } >"$DIR/env"
}

# no_proxy_lines: a proxy of the environment is for what is elsewhere. What one
# has named already stays; curl understands * only when it is alone.
no_proxy_lines() {
  cat <<'EOF'
case ,${no_proxy:=${NO_PROXY:-}}, in
  ,\*, | *,127.0.0.1,localhost,*) ;;
  *) no_proxy=127.0.0.1,localhost${no_proxy:+,$no_proxy} ;;
esac
export no_proxy NO_PROXY="$no_proxy"
EOF
}

export_line() { printf 'export %s=%s\n' "$1" "$(quote "$2")"; }

# stop_cluster: ends every process of the cluster in $DIR.
stop_cluster() {
  local role
  # Each before what it needs: the operator gives up its Lease, and an API
  # server without its etcd takes long to end.
  for role in command operator controller-manager apiserver etcd; do
    end 10 "$role@$DIR"
  done
}

remove_directory() { [[ ! -e $DIR/$OURS ]] || rm -rf "$DIR"; }

# keep_logs: for somebody who looks for the cause afterwards.
keep_logs() {
  [[ ${ANON_DEV_KEEP_LOGS:-} ]] || return 0
  mkdir -p "$ANON_DEV_KEEP_LOGS" && cp "$DIR"/*.log "$ANON_DEV_KEEP_LOGS"
}

# start_janitor: tidies up when the launcher is killed and cannot do it itself.
# It belongs to nobody, so that nobody ends it by the way.
start_janitor() {
  # shellcheck disable=SC2016
  (env "$MARK=janitor@$DIR" setsid bash -c '
    tail --pid="$1" --sleep-interval=0.3 -f /dev/null
    exec "$2" down --dir "$3"
  ' janitor "$$" "$ROOT/dev/cluster" "$DIR" </dev/null >/dev/null 2>&1 &)
}

# run_command COMMAND…: with the cluster's environment; its exit code is ours.
run_command() {
  local code=0 left
  # shellcheck disable=SC2016
  attend env "$MARK=command@$DIR" bash -c 'source "$1" && shift && exec "$@"' \
    'dev: run' "$DIR/env" "$@" || code=$?
  mapfile -t left < <(pids "command@$DIR")
  ((${#left[@]} == 0)) || say "the command left processes behind, they are ended: ${left[*]}"
  return "$code"
}

# show_screen: what somebody wants to know who has just started it.
show_screen() {
  local here stop='make down'
  # As one would type it: relative, if it is below.
  here=$(realpath --relative-base="$PWD" "$DIR")
  [[ $here =~ ^[A-Za-z0-9_./-]+$ ]] || here=$(quote "$here")
  [[ $DIR == "$DEFAULT_DIR" ]] || stop="dev/cluster down --dir $here"
  printf '\nA Kubernetes API server runs at https://127.0.0.1:%s\n' "$API_PORT"
  if [[ $START_OPERATOR == yes ]]; then
    printf 'anon-operator runs at           %s\n' "$(operator_url)"
  fi
  cat <<EOF

  source $here/env    # kubectl, helm and kubectl-anon, for this shell
  kubectl get anon --all-namespaces
  ls $here/*.log      # what each of them says; audit.log: who wrote what
  $stop

EOF
}

# shellcheck shell=bash
# One cluster from start to end: its directory, its contents, and its removal.

# The file that marks a directory as created by the launcher, so that it may be
# removed.
readonly OURS=.anon-dev

# check_directory: refuses a $DIR that the launcher must not fill and remove.
check_directory() {
  if [[ -e $DIR && ! -e $DIR/$OURS && -n $(ls -A "$DIR") ]]; then
    die "$DIR exists, and was not created by dev/cluster: choose another --dir"
  fi
}

# create_directory: creates $DIR, readable by its owner only.
create_directory() {
  mkdir -p "$DIR"
  chmod 700 "$DIR"
  : >"$DIR/$OURS"
}

# build: builds all programs that a cluster consists of.
build() {
  build_programs
  build_operator
}

# bring_up FLAG…: starts the parts of the cluster that are not running yet.
bring_up() {
  if [[ ! -f $DIR/state ]] || ! resume; then
    # There may be processes of a launcher that was killed, or of a directory that
    # was removed.
    ON_EXIT=discard
    stop_cluster
    remove_directory
    create_directory
    [[ $NODE == no ]] || prepare_nodes
    say 'starting etcd, kube-apiserver and kube-controller-manager'
    choose_operator_ports
    start_controlplane
  fi
  if [[ $NODE == yes ]]; then
    start_nodes
    write_environment
    return
  fi
  install_chart
  create_identities
  start_operator "$@"
  write_state
  write_environment
}

# resume: continues with the cluster in $DIR, if its control plane is healthy.
resume() {
  # shellcheck disable=SC1091
  source "$DIR/state"
  controlplane_healthy && return
  say "the control plane in $DIR is no longer running: starting a new one"
  return 1
}

write_state() {
  printf '%s\n' "API_HOST=$API_HOST" "API_PORT=$API_PORT" "HTTP_PORT=$HTTP_PORT" "ADMIN_PORT=$ADMIN_PORT" >"$DIR/state"
}

# write_environment: writes DIR/env, to be sourced, and DIR/bin for its PATH.
write_environment() {
  local name
  mkdir -p "$DIR/bin"
  for name in kubectl helm; do
    ln -sfn "${PROGRAM[$name]}" "$DIR/bin/$name"
  done
  {
    export_line KUBECONFIG "$DIR/admin.kubeconfig"
    # kubectl caches discovery by host and port, and other clusters reuse the
    # ports, so the cache must not be in the user's home.
    export_line KUBECACHEDIR "$DIR/kube-cache"
    # shellcheck disable=SC2016
    printf 'export PATH=%s:"$PATH"\n' "$(quote "$DIR/bin:${OPERATOR_BIN%/*}")"
    export_line ANON_DEV_DIR "$DIR"
    export_line ANON_AUDIT_LOG "$DIR/audit.log"
    if [[ $NODE == no ]]; then
      export_line ANON_OPERATOR_ACCOUNT "$NAMESPACE:$ACCOUNT"
      export_line ANON_OPERATOR_PODS "$(join_colons "${PODS[@]}")"
      export_line ANON_OPERATOR_KUBECONFIGS "$(join_colons "$DIR"/operator-*.kubeconfig)"
    fi
    if [[ $START_OPERATOR == yes ]]; then
      export_line ANON_API_URL "$(operator_url)"
      export_line ANON_VALIDATOR_URL "$(operator_url)"
      export_line ANON_METRICS_URL "http://127.0.0.1:$ADMIN_PORT/metrics"
    fi
    no_proxy_lines
  } >"$DIR/env"
}

# no_proxy_lines: excludes loopback from the proxy of the environment. Existing
# entries are retained; curl recognizes * only if it is the only entry.
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

# stop_cluster: terminates every process of the cluster in $DIR.
stop_cluster() {
  local role
  # Each process before the ones it depends on: the operator releases its Lease,
  # and an API server without its etcd takes long to exit.
  for role in command operator; do
    terminate 10 "$role@$DIR"
  done
  stop_nodes
  for role in controller-manager apiserver etcd; do
    terminate 10 "$role@$DIR"
  done
}

remove_directory() { [[ ! -e $DIR/$OURS ]] || rm -rf "$DIR"; }

# keep_logs: copies the logs to $ANON_DEV_KEEP_LOGS, if that is set.
keep_logs() {
  [[ ${ANON_DEV_KEEP_LOGS:-} ]] || return 0
  mkdir -p "$ANON_DEV_KEEP_LOGS" && cp "$DIR"/*.log "$ANON_DEV_KEEP_LOGS"
}

# start_janitor: starts a process that removes the cluster if the launcher is
# killed. It is detached, so that it is not terminated along with the launcher.
start_janitor() {
  # shellcheck disable=SC2016
  (env "$MARK=janitor@$DIR" setsid bash -c '
    tail --pid="$1" --sleep-interval=0.3 -f /dev/null
    exec "$2" down --dir "$3"
  ' janitor "$$" "$ROOT/dev/cluster" "$DIR" </dev/null >/dev/null 2>&1 &)
}

# run_command COMMAND…: runs it in the cluster's environment, and returns its exit
# code.
run_command() {
  local code=0
  # shellcheck disable=SC2016
  run_helper env "$MARK=command@$DIR" bash -c 'source "$1" && shift && exec "$@"' \
    'dev: run' "$DIR/env" "$@" || code=$?
  find_processes "command@$DIR"
  ((${#FOUND[@]} == 0)) || say "the command left processes behind, which are terminated now: ${FOUND[*]}"
  return "$code"
}

# show_summary: tells the user how to use and how to stop the cluster.
show_summary() {
  local here stop='make down'
  # Relative, if it is below the current directory.
  here=$(realpath --relative-base="$PWD" "$DIR")
  [[ $here =~ ^[A-Za-z0-9_./-]+$ ]] || here=$(quote "$here")
  [[ $DIR == "$DEFAULT_DIR" ]] || stop="dev/cluster down --dir $here"
  printf '\nKubernetes API server: https://%s:%s\n' "$API_HOST" "$API_PORT"
  if [[ $START_OPERATOR == yes ]]; then
    printf 'anon-operator:         %s\n' "$(operator_url)"
  fi
  cat <<EOF

  source $here/env    # sets up kubectl, helm and kubectl-anon in this shell
  kubectl get anon --all-namespaces
  ls $here/*.log      # one log per process; audit.log lists the requests
  $stop

EOF
}

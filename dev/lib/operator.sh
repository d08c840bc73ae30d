# shellcheck shell=bash
# Installs the chart, and runs the operator as a process in place of one of the
# chart's Pods, with exactly the permissions that the chart grants.

readonly NAMESPACE=anon-system
readonly ACCOUNT=anon-operator
# Three, because propagation to every validator has to be tested with more than
# two.
readonly REPLICAS=3

kubectl() {
  "${PROGRAM[kubectl]}" --kubeconfig="$DIR/admin.kubeconfig" --cache-dir="$DIR/kube-cache" "$@"
}

operator_url() { printf 'http://127.0.0.1:%s' "$HTTP_PORT"; }

# build_operator: sets OPERATOR_BIN, and builds it unless the user specifies one.
build_operator() {
  local profile=${PROFILE:-dev} folder
  # The dev profile is the only one whose directory has a different name.
  folder=$profile
  [[ $profile != dev ]] || folder=debug
  OPERATOR_BIN=$(realpath -ms -- "${ANON_OPERATOR_BIN:-${CARGO_TARGET_DIR:-$ROOT/target}/$folder/anon-operator}")
  [[ $START_OPERATOR == yes ]] || return 0
  if [[ ! ${ANON_OPERATOR_BIN:-} ]]; then
    run_helper cargo build --manifest-path="$ROOT/Cargo.toml" --locked --bins --profile="$profile" >&2 ||
      die 'could not build the operator'
  fi
  [[ -f $OPERATOR_BIN && -x $OPERATOR_BIN ]] || die "$OPERATOR_BIN is not an executable file"
}

# install_chart: installs the chart, or upgrades it if it has changed.
install_chart() {
  local chart=${ANON_CHART:-$ROOT/charts/anon-operator} stamp
  [[ -f $chart/Chart.yaml ]] || die "no chart found in $chart"
  stamp=$(operator_url && find "$chart" -type f -exec sha256sum {} + | sort | sha256sum)
  [[ $stamp != "$(cat "$DIR/chart.stamp" 2>/dev/null)" ]] || return 0
  say 'installing the chart'
  # These directories exclude the user's own Helm plugins and settings.
  run_helper_into "$DIR/helm.log" env HELM_CACHE_HOME="$DIR/helm" HELM_CONFIG_HOME="$DIR/helm" \
    HELM_DATA_HOME="$DIR/helm" KUBECACHEDIR="$DIR/kube-cache" "${PROGRAM[helm]}" upgrade --install anon-operator "$chart" \
    --kubeconfig="$DIR/admin.kubeconfig" --namespace="$NAMESPACE" --create-namespace \
    --set="publicUrl=$(operator_url)" --set="replicas=$REPLICAS" --set=api.allowSignUp=true --set=allInOne=true || {
    show_log "$DIR/helm.log"
    die 'could not install the chart'
  }
  # The last attempt shows the errors of kubectl.
  until_started kinds_discovered 2>/dev/null || kinds_discovered || die "the API server does not serve the chart's custom resources"
  printf '%s' "$stamp" >"$DIR/chart.stamp"
}

# kinds_discovered: kubectl's discovery cache contains every kind of the chart.
#
# Helm fills this cache before the chart's CRDs are installed, and kubectl uses it
# for hours, so the first `kubectl get anon` would fail. `kubectl api-resources`
# refreshes it.
kinds_discovered() {
  local installed known
  installed=$(kubectl get crds --output=name | sed -n 's|.*/\(.*\.anon\.dev\)$|\1|p' | sort) &&
    known=$(kubectl api-resources --api-group=anon.dev --output=name | sort) &&
    [[ $installed && $known == "$installed" ]]
}

# create_identities: writes one kubeconfig for each of the chart's Pods, with a
# token bound to that Pod. The admission policy for Leases requires this binding,
# so here, too, each replica is a separate process.
create_identities() {
  local pod index=0 token
  if ! identities_valid; then
    until_started find_pods || {
      show_log "$DIR/controller-manager.log"
      die "the chart's Deployment did not create $REPLICAS Pods"
    }
    for pod in "${PODS[@]}"; do
      token=$(kubectl create token "$ACCOUNT" --namespace="$NAMESPACE" --duration=8760h \
        --bound-object-kind=Pod --bound-object-name="$pod")
      kubeconfig "$pod" "token: $token" | write_private "$DIR/operator-$index.kubeconfig"
      index=$((index + 1))
    done
    printf '%s\n' "${PODS[@]}" >"$DIR/pods"
  fi
}

# find_pods: sets PODS; fails if there are too few. (They are Pending, because
# there is no scheduler.)
find_pods() {
  mapfile -t PODS < <(kubectl get pods --namespace="$NAMESPACE" \
    --selector=app.kubernetes.io/name=anon-operator --output=name 2>/dev/null)
  PODS=("${PODS[@]#pod/}")
  ((${#PODS[@]} >= REPLICAS)) && PODS=("${PODS[@]:0:REPLICAS}")
}

# identities_valid: an earlier run created the identities, and their Pods still
# exist. (An upgrade of the chart adds a Pod, and keeps the old ones until that
# one is ready, which it never is.)
identities_valid() {
  [[ -f $DIR/pods ]] || return 1
  mapfile -t PODS <"$DIR/pods"
  kubectl get pods --namespace="$NAMESPACE" "${PODS[@]}" >/dev/null 2>&1
}

# start_operator FLAG…: starts the operator in place of the first Pod. A running
# operator is left alone if its binary and its flags are the same.
start_operator() {
  local attempt stamp
  if [[ $START_OPERATOR == no ]]; then
    terminate 10 "operator@$DIR"
    return
  fi
  stamp="$(stat --format='%n %i %y' "$OPERATOR_BIN") $(quote "$@")"
  if operator_ready; then
    [[ $stamp != "$(cat "$DIR/operator.stamp" 2>/dev/null)" ]] || return 0
    say 'the binary or the flags have changed: restarting the operator'
  fi
  terminate 10 "operator@$DIR"
  for attempt in 1 2 3; do
    spawn operator env KUBECONFIG="$DIR/operator-0.kubeconfig" \
      POD_NAME="${PODS[0]}" POD_NAMESPACE="$NAMESPACE" \
      "$OPERATOR_BIN" run --listen="127.0.0.1:$HTTP_PORT" --admin-listen="127.0.0.1:$ADMIN_PORT" \
      --public-url="$(operator_url)" "$@"
    until_started operator_settled || true
    if operator_ready; then
      printf '%s' "$stamp" >"$DIR/operator.stamp"
      return
    fi
    terminate 5 "operator@$DIR"
    grep -qi 'address already in use\|os error 98' "$DIR/operator.log" || break
    say "a port was already in use (attempt $attempt): trying other ports"
    choose_operator_ports
    install_chart
  done
  show_log "$DIR/operator.log"
  die 'the operator did not become ready'
}

choose_operator_ports() {
  HTTP_PORT=$(free_port)
  ADMIN_PORT=$(free_port)
}

# operator_settled: it is ready, or it has exited.
operator_settled() { operator_ready || ! runs "operator@$DIR"; }

operator_ready() {
  curl -sf --max-time 5 --noproxy '*' -o /dev/null "http://127.0.0.1:$ADMIN_PORT/readyz" &&
    runs "operator@$DIR"
}

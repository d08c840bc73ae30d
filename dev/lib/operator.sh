# shellcheck shell=bash
# The operator: what the chart installs, and the process that runs in the place
# of one of the chart's Pods, with the rights the chart gives it and no others.

readonly NAMESPACE=anon-system
readonly ACCOUNT=anon-operator
# Three: what has to be known by every validator is tested with more than two.
readonly REPLICAS=3

kubectl() {
  "${PROGRAM[kubectl]}" --kubeconfig="$DIR/admin.kubeconfig" --cache-dir="$DIR/kube-cache" "$@"
}

operator_url() { printf 'http://127.0.0.1:%s' "$HTTP_PORT"; }

# build_operator: sets OPERATOR_BIN; builds it unless the user brings one.
build_operator() {
  local profile=${PROFILE:-dev} folder
  # The dev profile is the one whose folder has another name.
  folder=$profile
  [[ $profile != dev ]] || folder=debug
  OPERATOR_BIN=$(realpath -ms -- "${ANON_OPERATOR_BIN:-${CARGO_TARGET_DIR:-$ROOT/target}/$folder/anon-operator}")
  [[ $START_OPERATOR == yes ]] || return 0
  if [[ ! ${ANON_OPERATOR_BIN:-} ]]; then
    attend cargo build --manifest-path="$ROOT/Cargo.toml" --locked --bins --profile="$profile" >&2 ||
      die 'the operator could not be built'
  fi
  [[ -f $OPERATOR_BIN && -x $OPERATOR_BIN ]] || die "$OPERATOR_BIN is not an executable file"
}

# install_chart: installs it, or upgrades it if it has changed since.
install_chart() {
  local chart=${ANON_CHART:-$ROOT/charts/anon-operator} stamp
  [[ -f $chart/Chart.yaml ]] || die "there is no chart in $chart"
  stamp=$(operator_url && find "$chart" -type f -exec sha256sum {} + | sort | sha256sum)
  [[ $stamp != "$(cat "$DIR/chart.stamp" 2>/dev/null)" ]] || return 0
  say 'installing the chart'
  # These folders keep the user's helm plugins and settings out.
  attend_into "$DIR/helm.log" env HELM_CACHE_HOME="$DIR/helm" HELM_CONFIG_HOME="$DIR/helm" \
    HELM_DATA_HOME="$DIR/helm" KUBECACHEDIR="$DIR/kube-cache" "${PROGRAM[helm]}" upgrade --install anon-operator "$chart" \
    --kubeconfig="$DIR/admin.kubeconfig" --namespace="$NAMESPACE" --create-namespace \
    --set="publicUrl=$(operator_url)" --set="replicas=$REPLICAS" --set=api.allowSignUp=true || {
    show_log "$DIR/helm.log"
    die 'the chart could not be installed'
  }
  # The last time aloud.
  until_deadline 30 kinds_discovered 2>/dev/null || kinds_discovered || die "the API server does not tell of the chart's kinds"
  printf '%s' "$stamp" >"$DIR/chart.stamp"
}

# kinds_discovered: kubectl knows every kind of the chart.
#
# helm has looked what the API server serves before there were any, and kubectl
# believes that for hours: its first `get anon` would fail. `api-resources`
# writes the cache anew.
kinds_discovered() {
  local installed known
  installed=$(kubectl get crds --output=name | sed -n 's|.*/\(.*\.anon\.dev\)$|\1|p' | sort) &&
    known=$(kubectl api-resources --api-group=anon.dev --output=name | sort) &&
    [[ $installed && $known == "$installed" ]]
}

# make_identities: one kubeconfig for each of the chart's Pods, with a token
# bound to it. The token names the Pod, and the policy for Leases asks for that:
# so one replica is one process here too.
make_identities() {
  local pod index=0 token
  if ! identities_valid; then
    until_deadline 30 find_pods || {
      show_log "$DIR/controller-manager.log"
      die "the chart's Deployment did not make $REPLICAS Pods"
    }
    for pod in "${PODS[@]}"; do
      token=$(kubectl create token "$ACCOUNT" --namespace="$NAMESPACE" --duration=8760h \
        --bound-object-kind=Pod --bound-object-name="$pod")
      kubeconfig "$pod" "token: $token" | private "$DIR/operator-$index.kubeconfig"
      index=$((index + 1))
    done
    printf '%s\n' "${PODS[@]}" >"$DIR/pods"
  fi
}

# find_pods: PODS, once there are enough. (Pending, for want of a scheduler.)
find_pods() {
  mapfile -t PODS < <(kubectl get pods --namespace="$NAMESPACE" \
    --selector=app.kubernetes.io/name=anon-operator --output=name 2>/dev/null)
  PODS=("${PODS[@]#pod/}")
  ((${#PODS[@]} >= REPLICAS)) && PODS=("${PODS[@]:0:REPLICAS}")
}

# identities_valid: an earlier run made them and the Pods are still the same
# (an upgrade of the chart adds a Pod, and keeps these until that one is ready).
identities_valid() {
  [[ -f $DIR/pods ]] || return 1
  mapfile -t PODS <"$DIR/pods"
  kubectl get pods --namespace="$NAMESPACE" "${PODS[@]}" >/dev/null 2>&1
}

# start_operator FLAG…: in the place of the first Pod. One that runs already
# stays, if it is the same binary with the same flags.
start_operator() {
  local attempt stamp
  if [[ $START_OPERATOR == no ]]; then
    end 10 "operator@$DIR"
    return
  fi
  stamp="$(stat --format='%n %i %y' "$OPERATOR_BIN") $(quote "$@")"
  if operator_ready; then
    [[ $stamp != "$(cat "$DIR/operator.stamp" 2>/dev/null)" ]] || return 0
    say 'the binary or the flags have changed: starting the operator again'
  fi
  end 10 "operator@$DIR"
  for attempt in 1 2 3; do
    spawn operator env KUBECONFIG="$DIR/operator-0.kubeconfig" \
      POD_NAME="${PODS[0]}" POD_NAMESPACE="$NAMESPACE" \
      "$OPERATOR_BIN" run --listen="127.0.0.1:$HTTP_PORT" --admin-listen="127.0.0.1:$ADMIN_PORT" \
      --public-url="$(operator_url)" "$@"
    until_deadline 60 operator_settled || true
    if operator_ready; then
      printf '%s' "$stamp" >"$DIR/operator.stamp"
      return
    fi
    end 5 "operator@$DIR"
    grep -qi 'address already in use\|os error 98' "$DIR/operator.log" || break
    say "a port was taken meanwhile (attempt $attempt): trying others"
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

# operator_settled: there is nothing left to wait for, good or bad.
operator_settled() { operator_ready || ! runs "operator@$DIR"; }

operator_ready() {
  curl -sf --max-time 5 --noproxy '*' -o /dev/null "http://127.0.0.1:$ADMIN_PORT/readyz" &&
    runs "operator@$DIR"
}

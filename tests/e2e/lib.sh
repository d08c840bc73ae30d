# shellcheck shell=bash
# Helpers of tests/e2e/run: helm and kubectl, requests from inside the cluster, the
# load.

# The namespace of the Pods that send requests.
readonly CLIENTS=anon-e2e
CHART=$ROOT/charts/anon-operator
OURS=no
# The first line of the audit log that counts.
AUDIT_START=1

# quietly COMMAND…: prints its output only if it fails.
quietly() {
  "$@" >"$SCRATCH/output" 2>&1 || { cat "$SCRATCH/output" >&2 && return 1; }
}

fails() { ! "$@" >"$SCRATCH/output" 2>&1; }

# helm_quietly install|upgrade FLAG…: of the chart in $CHART.
helm_quietly() {
  quietly helm "$1" anon-operator "$CHART" --namespace="$NAMESPACE" --create-namespace \
    --set="image.repository=${IMAGE%:*}" --set="image.tag=${IMAGE##*:}" --set=api.allowSignUp=true \
    --set=orphanGrace=10s --wait --timeout=3m "${@:2}"
}

# --- Pods ---------------------------------------------------------------------

# pods: prints those of the operator that are not being deleted, sorted.
pods() {
  kubectl get pods -n "$NAMESPACE" --selector="$SELECTOR" --output=json |
    jq -r '.items[] | select(.metadata.deletionTimestamp | not) | "pod/\(.metadata.name)"' | sort
}

no_pods() { [[ ! $(kubectl get pods -n "$NAMESPACE" --selector="$SELECTOR" --output=name) ]]; }

# ready_pods: how many of these are ready.
ready_pods() {
  kubectl get pods -n "$NAMESPACE" --selector="$SELECTOR" --output=json | jq '[.items[]
    | select((.metadata.deletionTimestamp | not) and any(.status.conditions[]?; .type == "Ready" and .status == "True"))] | length'
}

# all_ready REPLICAS: so many of each Deployment are ready, and there is no other Pod.
all_ready() {
  local deployments
  deployments=$(kubectl get deployments -n "$NAMESPACE" --selector="$SELECTOR" --output=name | wc -l)
  [[ $(ready_pods) == $(($1 * deployments)) && $(pods | wc -l) == $(($1 * deployments)) ]]
}

# evict POD: fails while a PodDisruptionBudget forbids it.
evict() {
  kubectl create --raw "/api/v1/namespaces/$NAMESPACE/pods/$1/eviction" -f - >/dev/null 2>&1 <<JSON
{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "$1", "namespace": "$NAMESPACE"}}
JSON
}

# replaced POD: it is being deleted, and the others are ready.
replaced() { ! pods | grep -qxF "$1" && all_ready 3; }

# reads OBJECT EXPECTED: status and reason of its condition Ready.
reads() {
  [[ $(kubectl get "$1" -n acme \
    --output=jsonpath='{.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].reason}') == "$2" ]]
}

# --- requests -----------------------------------------------------------------

# start_client: starts a Pod from which requests are sent.
start_client() {
  kubectl create namespace "$CLIENTS" >/dev/null
  kubectl create configmap scripts -n "$CLIENTS" --from-file="$HERE/call.py" --from-file="$HERE/load.py" >/dev/null
  start_pod client 'import signal; signal.pause()'
}

# start_pod NAME PROGRAM [NAME=VALUE…]: runs this Python program, with these
# variables, as an unprivileged user.
start_pod() {
  jq -n --arg name "$1" --arg image "$CLIENT_IMAGE" --arg program "$2" '{
    apiVersion: "v1", kind: "Pod", metadata: {name: $name},
    spec: {
      restartPolicy: "Never", terminationGracePeriodSeconds: 0, automountServiceAccountToken: false,
      securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: "RuntimeDefault"}},
      volumes: [{name: "scripts", configMap: {name: "scripts"}}, {name: "tmp", emptyDir: {}}],
      containers: [{
        name: "python", image: $image, command: ["python3", "-c", $program],
        env: ($ARGS.positional | map(split("=") | {name: .[0], value: (.[1:] | join("="))})),
        securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: ["ALL"]}},
        volumeMounts: [{name: "scripts", mountPath: "/scripts"}, {name: "tmp", mountPath: "/tmp"}]
      }]
    }
  }' --args "${@:3}" | kubectl apply -n "$CLIENTS" -f - >/dev/null
  quietly kubectl wait "pod/$1" -n "$CLIENTS" --for=condition=Ready --timeout=120s || fail "Pod $1 starts"
}

# find_services: sets API and VALIDATOR to the URLs of the Services. By address,
# because the nodes of dev/cluster have no DNS.
find_services() {
  API=http://$(address_of anon-operator):8080
  VALIDATOR=http://$(address_of anon-operator-validator):8080
}

address_of() { kubectl get service "$1" -n "$NAMESPACE" --output=jsonpath='{.spec.clusterIP}'; }

# call METHOD URL [BODY [HEADER…]]: sends a request, and sets OUT to status and body.
call() {
  OUT=$(kubectl exec client -n "$CLIENTS" -- python3 /scripts/call.py "$@") || fail "$1 $2 is answered" "$OUT"
}

# validate CREDENTIAL: prints status and body.
validate() {
  call POST "$VALIDATOR/v1/validate" '' "Authorization:Bearer $1" "X-Anon-Sdk-Client-Id:$WEB"
  echo "$OUT"
}

# --- load ---------------------------------------------------------------------

start_load() {
  local cases
  section 'Load'
  cases=$(jq -cn --arg token "Bearer $TOKEN" --arg edited "Bearer ${TOKEN%?????}AAAAA" --arg key "Bearer $API_KEY" --arg web "$WEB" '[
    {name: "token", status: 200, contains: "\"appUserId\":\"user-123\"", headers: {authorization: $token, "x-anon-sdk-client-id": $web}},
    {name: "edited token", status: 401, contains: "signature_invalid", headers: {authorization: $edited, "x-anon-sdk-client-id": $web}},
    {name: "API key", status: 200, contains: "\"principal\":\"apiKey\"", headers: {authorization: $key}}
  ]')
  start_pod load 'import runpy; runpy.run_path("/scripts/load.py")' "URL=$VALIDATOR/v1/validate" "CASES=$cases"
  ok 'it is running'
}

# stop_load: not one response was wrong or lost.
stop_load() {
  local report
  section 'The load, after all of this'
  quietly kubectl exec load -n "$CLIENTS" -- python3 -c 'open("/tmp/stop", "w")' || fail 'the load is still running'
  quietly kubectl wait pod/load -n "$CLIENTS" --for=jsonpath='{.status.phase}'=Succeeded --timeout=60s || fail 'the load ends'
  report=$(kubectl logs load -n "$CLIENTS")
  quietly kubectl delete pod/load -n "$CLIENTS"
  echo "  $(jq -r '"\(.requests) requests over \(.connections) connections"' <<<"$report")"
  same 'no response is wrong' 0 "$(jq -r '.wrong | if .count == 0 then 0 else tojson end' <<<"$report")"
  same 'no response is lost' 0 "$(jq -r '.lost | if .count == 0 then 0 else tojson end' <<<"$report")"
  check 'the load was continuous' test "$(jq .requests <<<"$report")" -gt 1000
}

# --- the end ------------------------------------------------------------------

# clean_up: removes everything that the test has installed, as
# docs/operations.md describes it.
# shellcheck disable=SC2317,SC2329 # invoked by the trap
clean_up() {
  local code=$?
  trap - EXIT
  set +e
  ((code == 0)) || show_cluster >&2
  # The node of tests/e2e/on-node is removed as a whole.
  if [[ $OURS == yes && ! ${ANON_DEV_DIR:-} ]]; then
    kubectl delete namespace acme "$CLIENTS" --ignore-not-found --timeout=120s
    kubectl get namespaces --selector=app.kubernetes.io/managed-by=anon-operator --output=name | xargs --no-run-if-empty kubectl delete
    helm uninstall anon-operator -n "$NAMESPACE" --ignore-not-found --wait
    kubectl delete crd {organizations,members,userpools,sdkclients,revocations}.anon.dev --ignore-not-found
    kubectl delete namespace "$NAMESPACE" --ignore-not-found --timeout=120s
  fi >/dev/null 2>&1
  rm -rf "$SCRATCH"
  exit "$code"
}

# show_cluster: what helps to understand a failure.
show_cluster() {
  kubectl get anon,pods --all-namespaces --output=wide
  kubectl get events -n "$NAMESPACE" | tail -n 20
  kubectl logs -n "$NAMESPACE" --selector="$SELECTOR" --tail=5 --prefix
}

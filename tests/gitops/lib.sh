# shellcheck shell=bash
# Manifests, and what the API server stores of them.

quietly() { "$@" >/dev/null; }

# documented_commands: the kubectl commands of docs/gitops.md that are lines of their own.
documented_commands() { sed -n 's/^    \(kubectl .*\)$/\1/p' "$PAGE" | sort -u; }

# run_documented COMMAND: executes a command that docs/gitops.md contains.
run_documented() {
  grep -qxF "    $1" "$PAGE" || fail 'docs/gitops.md contains the command' "$1"
  printf '%s\n' "$1" >>"$SCRATCH/executed"
  check "docs/gitops.md: $1" quietly bash -c "$1"
}

# yaml_block ANCHOR: the lines of a script in argocd-cm.yaml.
yaml_block() { sed -n "/&$1 |\$/,/^  [^ ]/{//!s/^    //p}" "$ARGOCD_CM"; }

# shown_lua: the code block of docs/gitops.md in Lua. (\140 is the backtick.)
shown_lua() { awk '/^\140\140\140/ { inside = /lua$/; next } inside' "$PAGE"; }

# write_manifests: a file for each object of EXAMPLES. Namespaces are created before.
write_manifests() {
  local namespace name
  mkdir "$SCRATCH/manifests"
  while read -r namespace name; do
    kubectl create --dry-run=client -n "$namespace" -o json -f "examples/$name.yaml"
  done <<<"$EXAMPLES" |
    jq -c 'if .kind == "List" then .items[] else . end | select(.kind != "Namespace") | del(.metadata.creationTimestamp)' |
    while read -r object; do
      printf '%s\n' "$object" >"$SCRATCH/manifests/$(jq -r '"\(.metadata.namespace)-\(.kind)-\(.metadata.name)"' <<<"$object").json"
    done
}

# shuffled LINE…: in the order that SEED specifies.
shuffled() {
  printf '%s\n' "$@" | shuf --random-source=<(openssl enc -aes-256-ctr -pass "pass:$SEED" -nosalt -pbkdf2 </dev/zero 2>/dev/null)
}

# apply MANAGER ARGUMENT…: as a GitOps tool does; without --force-conflicts, a field that another
# manager has changed is an error.
apply() {
  local files=() options=() word
  for word in "${@:2}"; do
    if [[ $word == --* ]]; then options+=("$word"); else files+=(-f "$word"); fi
  done
  quietly kubectl apply --server-side --field-manager="$1" "${options[@]}" "${files[@]}"
}

# no_drift: whether an apply would change nothing.
no_drift() { kubectl diff --server-side --field-manager=kustomize-controller -f "$SCRATCH/manifests"; }

# found_drift: whether an apply would change something. (Errors have exit code 2 or more.)
found_drift() {
  local code=0
  kubectl diff --server-side --force-conflicts --field-manager=kustomize-controller -f "$SCRATCH/manifests" >/dev/null || code=$?
  ((code == 1))
}

# versions: the generation and the resourceVersion of every object.
versions() {
  kubectl get "$KINDS" -A -o json |
    jq -r '.items[] | "\(.kind) \(.metadata.namespace)/\(.metadata.name) \(.metadata.generation) \(.metadata.resourceVersion)"'
}

# at_rest: whether nothing changes for three seconds.
at_rest() {
  local before
  before=$(versions)
  sleep 3
  [[ $(versions) == "$before" ]]
}

# managers: those of every field but status.
managers() {
  kubectl get "$KINDS" -A -o json --show-managed-fields |
    jq -r '[.items[].metadata.managedFields[] | select(.subresource != "status").manager] | unique | join(" ")'
}

# none COMMAND…: whether the command succeeds and prints nothing.
none() {
  local found
  found=$("$@") && [[ ! $found ]]
}

of_manifests() { kubectl get -f "$SCRATCH/manifests" --ignore-not-found -o name; }

# children RESOURCES: what the operator has created in the namespaces of the examples.
children() {
  local namespace
  for namespace in acme team; do
    kubectl get "$1" -n "$namespace" -l app.kubernetes.io/managed-by=anon-operator -o name || return
  done
}

# prints VALUE COMMAND…: whether the command prints the value.
prints() { [[ $("${@:2}") == "$1" ]]; }

# other_than VALUE COMMAND…: whether the command prints something else.
other_than() { [[ $("${@:2}") != "$1" ]]; }

api_key() { kubectl get secret "$1-anon" -n acme -o jsonpath='{.data.apiKey}'; }
signing_key() { kubectl get userpool "$1" -n acme -o jsonpath='{.status.keys[?(@.state=="Active")].kid}'; }
next_key() { kubectl get userpool "$1" -n acme -o jsonpath='{.status.keys[?(@.state=="Next")].kid}'; }

# log_in_lovelace: creates a member with a password, and sets SESSION.
log_in_lovelace() {
  kubectl create -f - >/dev/null <<'YAML'
apiVersion: v1
kind: Secret
metadata: {name: lovelace, namespace: acme, labels: {anon.dev/use: password}}
stringData: {password: correct horse}
---
apiVersion: anon.dev/v1beta1
kind: Member
metadata: {name: lovelace, namespace: acme}
spec:
  displayName: Lovelace
  email: lovelace@acme.example
  role: Member
  passwordSecretRef: {name: lovelace, key: password}
YAML
  kubectl wait member lovelace -n acme --for=condition=Ready --timeout=60s >/dev/null
  SESSION=$(curl -sS --fail-with-body "$ANON_API_URL/org/login" \
    -d '{"email": "lovelace@acme.example", "password": "correct horse"}' | jq -r .token)
}

# session_status: the HTTP status of a request with that session.
session_status() {
  curl -sS -o "$SCRATCH/response" -w '%{http_code}' "$ANON_API_URL/org/sdkClients" -H "Authorization: Bearer $SESSION"
}

rejects_session() { [[ $(session_status) == 401 ]]; }

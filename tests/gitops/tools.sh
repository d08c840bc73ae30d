# shellcheck shell=bash
# What kstatus and Argo CD show of objects: STATUS is the program of gitops-status/.

# shows ARGOCD_CM KINDS: a line for every object.
shows() { kubectl get "$2" -A -o json | "$STATUS" "$1"; }

# shows_of_all STATEMENT EXPECTED: of every object that exists.
shows_of_all() { same "$1" "$2" "$(shows "$ARGOCD_CM" "$KINDS" | cut -f 2,3 | tr '\t' ' ' | sort -u)"; }

# actions KIND NAME: those that Argo CD offers, in namespace acme.
actions() {
  kubectl get "$1" "$2" -n acme -o json | jq '{apiVersion: "v1", kind: "List", items: [.]}' | "$STATUS" "$ARGOCD_CM" | cut -f 4
}

# act ACTION KIND NAME: does what Argo CD does when a user runs the action.
act() {
  local result
  result=$(kubectl get "$2" "$3" -n acme -o json | "$STATUS" "$ARGOCD_CM" "$1") || fail "action $1 of $2/$3 runs"
  case $(jq -r '.[].operation' <<<"$result") in
    create) check "$1 of $2/$3 creates an object" quietly kubectl create -f <(jq '.[].resource' <<<"$result") ;;
    patch) check "$1 of $2/$3 patches it" quietly kubectl replace -f <(jq '.[].resource' <<<"$result") ;;
    *) fail "action $1 of $2/$3 creates or patches" "$result" ;;
  esac
}

# object KIND NAME SPEC
object() {
  jq -n --arg kind "$1" --arg name "$2" --argjson spec "$3" \
    '{apiVersion: "anon.dev/v1beta1", kind: $kind, metadata: {name: $name, namespace: "situations"}, spec: $spec}'
}

# shown STATEMENT EXPECTED OBJECT: EXPECTED is the status of kstatus and the health of Argo CD. The
# latter comes with a message.
shown() {
  local line
  line=$(jq '{apiVersion: "v1", kind: "List", items: [.]}' <<<"$3" | "$STATUS" "$ARGOCD_CM") || fail "$1"
  same "$1: $2" "$2" "$(cut -f 2,3 <<<"$line" | tr '\t' ' ')"
  [[ $(cut -f 5 <<<"$line") ]] || fail "$1: Argo CD shows a message" "$line"
}

# has_reason REASON KIND NAME
has_reason() {
  [[ $(kubectl get "$2" "$3" -n situations -o jsonpath='{.status.conditions[?(@.type=="Ready")].reason}') == "$1" ]]
}

# situation STATEMENT KIND NAME SPEC REASON EXPECTED: creates the object, and waits for the reason.
situation() {
  object "$2" "$3" "$4" | kubectl create -f - >/dev/null || fail "$1: the API server accepts it"
  within 60 has_reason "$5" "$2" "$3" || fail "$1: the reason is $5" "$(kubectl get "$2" "$3" -n situations -o yaml)"
  shown "$1 ($5)" "$6" "$(kubectl get "$2" "$3" -n situations -o json)"
}

# edited STATEMENT OBJECT FILTER EXPECTED: of the object after a change with jq.
edited() { shown "$1" "$4" "$(jq "$3" <<<"$2")"; }

# not_ready TYPE REASON: the filter that sets the conditions of an object that is not Ready.
not_ready() {
  printf '.status.summary = "%s" | .status.conditions = [{type: "Ready", status: "False"}, {type: "%s", status: "True"}]
    | .status.conditions[] += {reason: "%s", message: "text"}' "$2" "$1" "$2"
}

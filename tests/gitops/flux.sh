# shellcheck shell=bash
# Flux: its source-controller and kustomize-controller, as processes on loopback beside the operator,
# apply organizations from a Git repository. FLUX is the folder of their programs.

# How often they look for changes, in Git and in the cluster.
readonly FLUX_INTERVAL=2s

# start_flux: installs the CRDs, and starts both controllers and the Git server.
start_flux() {
  local name sources port
  kubectl create namespace flux-system >/dev/null
  for name in source-controller kustomize-controller; do
    sources=$(GOTOOLCHAIN=local GOWORK=off GOFLAGS=-mod=readonly \
      go -C "$HERE/flux" mod download -json "github.com/fluxcd/$name" | jq -r .Dir)
    quietly kubectl apply --server-side -f "$sources/config/crd/bases"
  done
  quietly kubectl wait crd --all --for=condition=Established --timeout=30s

  mkdir "$SCRATCH/artifacts" "$SCRATCH/git"
  port=$(free_port)
  controller source-controller --storage-path="$SCRATCH/artifacts" \
    --storage-addr="127.0.0.1:$port" --storage-adv-addr="127.0.0.1:$port"
  controller kustomize-controller
  child git-server "$HERE/git-server" "$SCRATCH/git"
  check 'the Git server listens' within 60 test -s "$SCRATCH/git-server.out"
  REPOSITORY=http://127.0.0.1:$(<"$SCRATCH/git-server.out")/platform.git
}

# controller NAME FLAG…: without metrics and health endpoint, because their ports would be fixed.
controller() {
  RUNTIME_NAMESPACE=flux-system TMPDIR=$SCRATCH \
    child "$1" "$FLUX/$1" --metrics-addr=0 --health-addr=0 "${@:2}"
}

# child NAME COMMAND…: a process that ends with the test.
child() {
  setpriv --pdeathsig KILL "${@:2}" >"$SCRATCH/$1.out" 2>"$SCRATCH/$1.err" &
}

# in_repository ARGUMENT…: git, without the settings of the user.
in_repository() {
  GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 \
    git --git-dir="$SCRATCH/git/platform.git" --work-tree="$SCRATCH/platform" \
    -c user.name=Ada -c user.email=ada@acme.example "$@"
}

# commit MESSAGE: everything in $SCRATCH/platform.
commit() {
  in_repository add --all
  in_repository commit --quiet --message="$1"
}

# write_repository: a folder for each organization, with the examples.
write_repository() {
  local namespace name
  GIT_CONFIG_GLOBAL=/dev/null git init --quiet --bare --initial-branch=main "$SCRATCH/git/platform.git"
  while read -r namespace name; do
    mkdir -p "$SCRATCH/platform/$namespace"
    cp "examples/$name.yaml" "$SCRATCH/platform/$namespace/"
  done <<<"$EXAMPLES"
  commit 'Add the organizations'
}

# example NAME ORGANIZATION: of examples/gitops/flux, with the URL and the times of this test. (An
# object that is deleted during a health check is only created again after the timeout.)
example() {
  sed -e "s|https://git.acme.example/platform.git|$REPOSITORY|; s/acme/$2/" \
    -e "s/nterval: .*/nterval: $FLUX_INTERVAL/; s/timeout: .*/timeout: 20s/" "examples/gitops/flux/$1.yaml"
}

# of_kustomization ORGANIZATION JSONPATH
of_kustomization() { kubectl get kustomization "$1" -n flux-system -o jsonpath="$2"; }

# last_commit: as Flux writes it.
last_commit() { printf 'main@sha1:%s' "$(in_repository rev-parse main)"; }

# synced ORGANIZATION: whether the last commit is applied, and all objects are Ready.
synced() {
  [[ $(of_kustomization "$1" '{.status.lastAppliedRevision} {.status.conditions[?(@.type=="Ready")].status}') == \
    "$(last_commit) True" ]]
}

# fails_with ORGANIZATION REASON TEXT: whether the last commit fails for this reason, with the text in
# the message.
fails_with() {
  [[ $(of_kustomization "$1" '{.status.lastAttemptedRevision} {.status.conditions[?(@.type=="Ready")].reason} {.status.conditions[?(@.type=="Ready")].message}') == \
    "$(last_commit) $2 "*"$3"* ]]
}

# applied_again ORGANIZATION: whether Flux applies the folder once more, as `flux reconcile` does it.
applied_again() {
  local now
  now=$(date +%s%N)
  kubectl annotate kustomization "$1" -n flux-system reconcile.fluxcd.io/requestedAt="$now" --overwrite >/dev/null
  within 60 prints "$now" of_kustomization "$1" '{.status.lastHandledReconcileAt}'
}

display_name() { kubectl get "$1" "$2" -n acme -o jsonpath='{.spec.displayName}'; }
uid_of() { kubectl get "$@" -o jsonpath='{.metadata.uid}' --ignore-not-found; }
kids_of() { kubectl get userpool "$1" -n acme -o jsonpath='{.status.keys[*].kid}'; }

# unready NAMESPACE: the objects of the operator that are not Ready.
unready() {
  kubectl get "$KINDS" -n "$1" -o json | jq -r '.items[] |
    select(any(.status.conditions[]?; .type == "Ready" and .status == "True") | not) | "\(.kind)/\(.metadata.name)"'
}

# new_uid OLD RESOURCE NAME ARGUMENT…: whether the object was created again.
new_uid() {
  local found
  found=$(uid_of "${@:2}")
  [[ $found && $found != "$1" ]]
}

flux() {
  local before
  section 'Flux'
  start_flux
  write_repository
  quietly kubectl apply -f <(example gitrepository acme) -f <(example kustomization acme)
  run_documented 'kubectl wait kustomization acme -n flux-system --for=condition=Ready --timeout=3m'
  check 'all objects are Ready' none unready acme

  check 'the objects are at rest' within 60 at_rest
  before=$(versions)
  check 'Flux applies them again' applied_again acme
  check 'and again' applied_again acme
  sleep 3
  same 'neither generation nor resourceVersion changed' "$before" "$(versions)"
  same 'the operator manages nothing but status' kustomize-controller "$(managers)"

  flux_drift
  flux_rotation
  flux_commits
  flux_account
  flux_namespace
  check 'the Kustomizations can be deleted' quietly kubectl delete kustomization acme team -n flux-system --timeout=60s
  check 'their objects are pruned' within 60 none kubectl get "$KINDS" -A -o name
  check 'the namespace is pruned' within 60 none kubectl get namespace acme --ignore-not-found -o name
}

flux_drift() {
  local before
  section 'Drift, with Flux'
  before=$(display_name sdkclient web)
  kubectl patch sdkclient web -n acme --type=merge -p '{"spec": {"displayName": "by hand"}}' >/dev/null
  check 'a change by hand is reverted' within 30 prints "$before" display_name sdkclient web
  before=$(uid_of sdkclient shop -n acme)
  kubectl delete sdkclient shop -n acme >/dev/null
  check 'an object that was deleted by hand is created again' within 60 new_uid "$before" sdkclient shop -n acme
  check 'all objects are Ready' quietly kubectl wait anon --all -n acme --for=condition=Ready --timeout=60s
}

flux_rotation() {
  local before
  section 'A rotation requested with kubectl, with Flux'
  kubectl annotate userpool users -n acme anon.dev/rotate=flux >/dev/null
  check 'a new signing key is published' within 60 other_than '' next_key users
  before=$(kids_of users)
  check 'Flux applies the pool again' applied_again acme
  same 'the annotation is removed' '' "$(kubectl get userpool users -n acme -o jsonpath='{.metadata.annotations.anon\.dev/rotate}')"
  check 'the objects are at rest' within 60 at_rest
  same 'that is one rotation' "$before" "$(kids_of users)"
}

flux_commits() {
  local folder=$SCRATCH/platform/acme
  section 'Commits, with Flux'
  sed -i 's/displayName: Everyone who.*/displayName: Customers/' "$folder/quickstart.yaml"
  commit 'Rename a pool'
  check 'a change is applied' within 30 prints Customers display_name userpool users
  check 'all objects are Ready' within 60 synced acme

  twin Owner grace@acme.example >"$folder/twin.yaml"
  sed -i 's/displayName: Customers/displayName: Guests/' "$folder/quickstart.yaml"
  commit 'Add a member with an unknown role, and rename a pool'
  check 'an object that the API server rejects fails the Kustomization, with its message' \
    within 60 fails_with acme ReconciliationFailed 'spec.role: Unsupported value: "Owner"'
  same 'nothing of the commit is applied' Customers "$(display_name userpool users)"
  twin Member ada@acme.example >"$folder/twin.yaml"
  commit 'Give the member a role, and the e-mail address of another one'
  check 'an object that is Stalled fails the Kustomization, by name' \
    within 60 fails_with acme HealthCheckFailed Member/acme/twin
  same 'everything of the commit is applied' Guests "$(display_name userpool users)"
  twin Member grace@acme.example >"$folder/twin.yaml"
  commit 'Give the member an e-mail address of its own'
  check 'all objects are Ready' within 60 synced acme

  rm "$folder/twin.yaml" "$folder/webapp.yaml" "$folder/userpool-inline.yaml"
  commit 'Remove the member, a client and a pool'
  check 'all remaining objects are Ready' within 60 synced acme
  same 'those that were removed are pruned' '' \
    "$(uid_of member twin -n acme)$(uid_of sdkclient shop -n acme)$(uid_of userpool devices -n acme)"
}

# twin ROLE EMAIL: the manifest of a member.
twin() {
  printf '%s\n' 'apiVersion: anon.dev/v1beta1' 'kind: Member' 'metadata: {name: twin}' \
    "spec: {displayName: Grace, email: $2, role: $1}"
}

flux_account() {
  section 'A ServiceAccount for Flux'
  run_documented 'kubectl create namespace team'
  run_documented 'kubectl create serviceaccount team -n flux-system'
  run_documented 'kubectl create rolebinding flux -n team --clusterrole=anon-admin --serviceaccount=flux-system:team'
  example kustomization team |
    kubectl patch --local -f - --type=merge -p '{"spec": {"serviceAccountName": "team"}}' -o yaml |
    quietly kubectl apply -f -
  check 'all objects are Ready' within 60 synced team
  cat >"$SCRATCH/platform/team/rights.yaml" <<'YAML'
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: rights}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: mallory}]
YAML
  commit 'Add a RoleBinding'
  check 'the folder cannot contain other objects' within 60 fails_with team ReconciliationFailed 'is forbidden'
  rm "$SCRATCH/platform/team/rights.yaml"
  commit 'Remove the RoleBinding'
  check 'without it, all objects are Ready' within 60 synced team
}

flux_namespace() {
  local before
  section 'Deletion of a namespace, with Flux'
  before=$(uid_of namespace acme)
  check 'a namespace can be deleted' quietly kubectl delete namespace acme --timeout=60s
  # If Flux applied it while it was being deleted, Flux waits for it for a minute.
  check 'Flux creates it again' within 150 new_uid "$before" namespace acme
  check 'Flux applies its objects' applied_again acme
  check 'the Kustomization is Ready' within 60 synced acme
  check 'all objects are Ready' quietly kubectl wait anon --all -n acme --for=condition=Ready --timeout=60s
}

# shellcheck shell=bash
# Uses the permissions of the operator's accounts, then compares what was granted
# with what was used.

# api METHOD PATH STATUS [BODY]: a request of $BEARER, with this response.
api() {
  call "$1" "$API$2" "${4:-}" ${BEARER:+"Authorization:Bearer $BEARER"}
  [[ $OUT == "$3 "* ]] || fail "$1 $2 is answered with $3" "$OUT"
  OUT=${OUT#* }
}

# field NAME: of the last response.
field() { jq -r ".$1" <<<"$OUT"; }

# rest_api: everything that makes an account write: by its own REST API, and by
# kubectl where the API cannot do it.
rest_api() {
  local organization pool web backend member
  section 'The REST API, and what kubectl does'
  BEARER=''
  api POST /org/organization 200 '{"name": "Signed up", "member": {"name": "Ada", "email": "ada@signup.example", "password": "correct horse"}}'
  organization=$(field id)
  api POST /org/login 200 '{"email": "ada@signup.example", "password": "correct horse"}'
  BEARER=$(field token)
  ok 'an organization signs up, and its Admin logs in'

  api PATCH "/org/organization/$organization" 200 '{"name": "Renamed"}'
  api POST /org/member 200 '{"name": "Bob", "email": "bob@signup.example", "password": "correct horse", "role": "Member"}'
  member=$(field id)
  api PATCH "/org/member/$member" 200 '{"password": "another horse"}'
  api POST /org/userPool 200 '{"name": "Users", "description": ""}'
  pool=$(field id)
  api PATCH "/org/userPool/$pool" 200 '{"description": "Everybody"}'
  api POST /org/sdkClient 200 '{"name": "Web", "description": "", "kind": {"application": {"userPoolId": "'"$pool"'"}}}'
  web=$(field id)
  api POST /org/sdkClient 200 '{"name": "Backend", "description": "", "kind": "service"}'
  backend=$(field id)
  api POST "/org/sdkClient/$backend/rotate" 200
  api POST /org/revocations 200 '{"userPoolId": "'"$pool"'", "appUserIds": ["user-1"]}'
  api GET /org/events 200
  ok 'members, pools and clients are created and changed, and a user is revoked'

  for path in "sdkClient/$web" "sdkClient/$backend" "userPool/$pool" "member/$member"; do
    api DELETE "/org/$path" 200
  done
  api DELETE "/org/organization/$organization" 200
  ok 'all of it is deleted'

  quietly kubectl apply -n acme -f - <<YAML
apiVersion: v1
kind: ServiceAccount
metadata: {name: ci}
---
apiVersion: anon.dev/v1beta1
kind: Member
metadata: {name: ci}
spec: {email: ci@acme.example, role: ReadOnly, kubernetes: {serviceAccount: {name: ci}}}
---
apiVersion: anon.dev/v1beta1
kind: UserPool
metadata: {name: short}
spec: {hosted: {}}
---
apiVersion: anon.dev/v1beta1
kind: Revocation
metadata: {name: short}
spec: {userPool: {name: short, subjects: [user-1]}, expiresAt: "$(date -u -d '+10 seconds' +%FT%TZ)", deletionPolicy: Delete}
YAML
  quietly kubectl wait member/ci userpool/short -n acme --for=condition=Ready --timeout=60s || fail 'they become Ready'
  BEARER=''
  api POST /org/login 200 "{\"kubernetesToken\": \"$(kubectl create token ci -n acme --audience=anon-operator)\"}"
  ok 'a Kubernetes identity logs in'
  check 'a Revocation is deleted when it has expired' quietly kubectl wait revocation/short -n acme --for=delete --timeout=60s

  quietly kubectl patch member/ci -n acme --type=merge --patch='{"spec": {"role": "Member"}}'
  check 'a RoleBinding is replaced if the role changes' within 60 bound_to anon-member
  quietly kubectl patch configmap/users-jwks -n acme --type=merge --patch='{"data": {"jwks.json": "{}"}}'
  check 'a ConfigMap that was changed is repaired' within 60 publishes_keys
  quietly kubectl delete member/ci userpool/short -n acme
  check 'the RoleBinding of a deleted Member is deleted' within 60 deleted_with_owner rolebinding
}

# bound_to ROLE: some RoleBinding in acme is.
bound_to() { kubectl get rolebindings -n acme --output=jsonpath='{.items[*].roleRef.name}' | grep -qw "$1"; }

publishes_keys() {
  kubectl get configmap users-jwks -n acme --output=jsonpath='{.data.jwks\.json}' | jq -e '.keys | length > 0' >/dev/null
}

# deleted_with_owner RESOURCE: only those of the quickstart are left in acme.
deleted_with_owner() {
  [[ $(kubectl get "$1" -n acme --selector=app.kubernetes.io/managed-by=anon-operator --output=name | wc -l) == 1 ]]
}

# permissions: every request was allowed, and every permission was used.
permissions() {
  local unused
  section "The permissions of the operator's accounts"
  if [[ ! ${ANON_AUDIT_LOG:-} ]]; then
    echo "  skipped: ANON_AUDIT_LOG does not specify the audit log of this cluster"
    return
  fi
  used >"$SCRATCH/used"
  granted >"$SCRATCH/granted"
  same 'no request was forbidden' '' "$(awk '$1 == "forbid"' "$SCRATCH/used")"
  check 'there are permissions' test -s "$SCRATCH/granted"
  unused=$(unused)
  # Those with a `?` are granted, and count as unused.
  sed -n 's/#.*//; s/^? //p' "$HERE/unused-permissions.txt" | awk 'NF { $1 = $1; print }' | sort >"$SCRATCH/optional"
  same 'every optional one is granted' '' "$(comm -13 <(cut -d' ' -f3- "$SCRATCH/granted" | sort -u) "$SCRATCH/optional")"
  unused=$(sort -u <(echo "$unused") "$SCRATCH/optional")
  sed 's/#.*//; s/^? //' "$HERE/unused-permissions.txt" | awk 'NF { $1 = $1; print }' | sort >"$SCRATCH/expected"
  same 'every other permission than those in unused-permissions.txt was used' '' "$(comm -23 <(echo "$unused") "$SCRATCH/expected")"
  same 'every one in that list is granted, and was not used' '' "$(comm -13 <(echo "$unused") "$SCRATCH/expected")"
}

# granted: prints ACCOUNT NAMESPACE ROLE VERB RESOURCE of each permission. The
# namespace is * for a ClusterRoleBinding.
granted() {
  kubectl get clusterroles,roles,clusterrolebindings,rolebindings --all-namespaces --output=json | jq -r --arg namespace "$NAMESPACE" '
    .items as $items
    | $items[] | select(.kind | endswith("Binding")) as $binding
    | $binding.subjects[]? | select(.kind == "ServiceAccount" and .namespace == $namespace) as $subject
    | $items[] | select(.kind == $binding.roleRef.kind and .metadata.name == $binding.roleRef.name
        and (.kind == "ClusterRole" or .metadata.namespace == $binding.metadata.namespace)) as $role
    | $role.rules[] | .apiGroups[] as $group | .resources[] as $resource | .verbs[] as $verb
    | [$subject.name, ($binding.metadata.namespace // "*"), $role.metadata.name, $verb,
       $resource + (if $group == "" then "" else "." + $group end)] | join(" ")'
}

# used: prints DECISION ACCOUNT NAMESPACE VERB RESOURCE of each kind of request
# since the installation.
used() {
  jq -r --arg prefix "system:serviceaccount:$NAMESPACE:" -R 'fromjson?
    | select(.user.username | startswith($prefix)) | select(.objectRef)
    | [.annotations["authorization.k8s.io/decision"], (.user.username | ltrimstr($prefix)), (.objectRef.namespace // "*"), .verb,
       .objectRef.resource + (if .objectRef.subresource then "/" + .objectRef.subresource else "" end)
         + (if .objectRef.apiGroup then "." + .objectRef.apiGroup else "" end)] | join(" ")' <(tail -n "+$AUDIT_START" "$ANON_AUDIT_LOG") | sort -u
}

# unused: prints ROLE VERB RESOURCE of the permissions that no request needed.
unused() {
  awk '
    NR == FNR { namespaced[$2, $3, $4, $5]; anywhere[$2, $4, $5]; next }
    $2 == "*" ? !(($1, $4, $5) in anywhere) : !(($1, $2, $4, $5) in namespaced) { print $3, $4, $5 }
  ' "$SCRATCH/used" "$SCRATCH/granted" | sort -u
}

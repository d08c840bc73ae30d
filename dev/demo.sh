#!/usr/bin/env bash
# Runs the complete flow, step by step, on a real API server: `make demo`; or on a
# cluster that you have: `make demo KUBECONFIG=… IMAGE=…`.
#
# Every printed command is the command that is run (`type_in` evaluates the text
# that it prints), followed by its output. Every "ok" is the result of a check.
# The exit code is 0 only if all checks passed.
set -euo pipefail

ROOT=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd)
readonly ROOT

if [[ -t 1 && ! ${NO_COLOR:-} ]]; then
  BOLD=$'\e[1m' GREEN=$'\e[32m' RED=$'\e[31m' DIM=$'\e[2m' PLAIN=$'\e[0m'
else
  BOLD='' GREEN='' RED='' DIM='' PLAIN=''
fi

# --- the transcript -----------------------------------------------------------

# step TITLE LINE…: starts a numbered step.
step() {
  STEP=$((${STEP:-0} + 1))
  printf '\n%s%s\n' "$BOLD$STEP. $1" "$PLAIN"
  shift
  (($# == 0)) || printf '   %s\n' "$@"
}

# type_in TEXT: prints a command as typed at a prompt, and runs it in this shell.
# Sets OUT to its output. (The output goes through a file, because a command in a
# subshell could not set variables.)
type_in() {
  printf '\n%s$ %s%s\n' "$DIM" "$1" "$PLAIN"
  evaluate "$1"
  print_out
}

# type_in_until WANTED TEXT: the same, repeated for up to five seconds until the
# output contains WANTED, because the validator sees a new object a few
# milliseconds later than kubectl. Prints only the last output.
type_in_until() {
  local deadline=$((SECONDS + 5))
  printf '\n%s$ %s%s\n' "$DIM" "$2" "$PLAIN"
  until evaluate "$2" && [[ $OUT == *"$1"* ]] || ((SECONDS >= deadline)); do
    sleep 0.1
  done
  print_out
}

evaluate() {
  local code=0
  eval "$1" >"$WORK/out" 2>&1 || code=$?
  OUT=$(<"$WORK/out")
  CODE=$code
}

# print_out: prints OUT, indented, with long JSON broken between its members.
print_out() {
  [[ ! $OUT ]] || printf '%s\n' "$OUT" | sed -E '/^\{.{100}/ s/,"/,\n "/g' | sed 's/^/  /'
}

ok() { printf '  %s\n' "${GREEN}ok: $1$PLAIN"; }

# fail STATEMENT: reports that the statement is not true.
fail() {
  printf '%s\n' "${RED}demo: check failed: $1$PLAIN" >&2
  exit 1
}

# must_succeed; must_print TEXT…: check the last command.
must_succeed() { ((CODE == 0)) || fail "the command succeeds (exit code $CODE)"; }

must_print() {
  local text
  for text; do
    [[ $OUT == *"$text"* ]] || fail "the output contains $text"
  done
}

# --- the steps, run in a separate cluster -------------------------------------

steps() {
  cd "$ROOT"
  printf '\n%s\n' "A Kubernetes API server and anon-operator are running. The operator has the permissions
of the chart's ServiceAccount; kubectl below runs as the cluster administrator.
Long JSON is broken into lines for readability; nothing else is edited."

  apply
  read_key
  mint
  validate
  tamper
  other_pool
  verify_with_openssl
  delete_client
}

apply() {
  step 'An organization declares its users, a frontend, a backend and its first staff user' \
    'One namespace is one organization. README.md shows the file.'
  type_in 'kubectl apply -f examples/quickstart.yaml'
  must_succeed
  type_in 'kubectl wait anon --all -n acme --for=condition=Ready --timeout=60s'
  must_succeed
  type_in 'kubectl get anon -n acme'
  must_succeed
  type_in "kubectl get anon -n acme -o jsonpath='{range .items[*]}{.kind}/{.metadata.name} Ready={.status.conditions[?(@.type==\"Ready\")].status}{\"\\n\"}{end}'"
  must_print Organization/default\ Ready=True UserPool/users\ Ready=True SdkClient/web\ Ready=True \
    SdkClient/backend\ Ready=True Member/ada\ Ready=True
  ok 'all five are Ready'
}

read_key() {
  step 'The operator has created an API key for the backend and delivered it into a Secret' \
    'The custom resource contains only its SHA-256.'
  type_in "API_KEY=\$(kubectl get secret backend-anon -n acme -o jsonpath='{.data.apiKey}' | base64 -d)"
  must_succeed
  # shellcheck disable=SC2016
  type_in 'echo "${API_KEY:0:16}…"'
  [[ $API_KEY =~ ^ory_apikey_[0-9A-Za-z]{49}$ ]] || fail 'the Secret contains an API key'
  local sha256
  sha256=$(printf '%s' "$API_KEY" | openssl dgst -sha256 -r)
  type_in "kubectl get sdkclient backend -n acme -o jsonpath='{.status.keys[*].sha256}'"
  must_print "${sha256%% *}"
  ok 'openssl computes the same SHA-256 from the key in the Secret'
}

mint() {
  step 'With its API key, the backend requests a token for user-123 of the web shop'
  type_in "WEB=\$(kubectl get sdkclient web -n acme -o jsonpath='{.status.clientId}')"
  # shellcheck disable=SC2016
  type_in_until appUserIdToken 'curl -sS "$ANON_API_URL/org/appUserIdToken" -H "Authorization: Bearer $API_KEY" \
    -d "{\"appUserId\": \"user-123\", \"sdkClientId\": \"$WEB\"}" | tee "$WORK/minted" | cut -c 1-100'
  # shellcheck disable=SC2016
  type_in 'TOKEN=$(sed '\''s/.*"appUserIdToken":"\([^"]*\)".*/\1/'\'' "$WORK/minted")'
  [[ $TOKEN =~ ^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$ ]] || fail 'the response contains a JWT'
  ok "a JWT of ${#TOKEN} characters"
}

# validate_as CLIENT TOKEN: prints the command; both arguments are names of
# variables.
validate_as() {
  # shellcheck disable=SC2016
  printf 'curl -sS -w "\\nHTTP %%{http_code}\\n" -X POST "$ANON_VALIDATOR_URL/v1/validate" \\
    -H "Authorization: Bearer $%s" -H "X-Anon-Sdk-Client-Id: $%s"' "$2" "$1"
}

validate() {
  step 'Any backend can validate the token and identify the user'
  local pool
  pool=$(kubectl get userpool users -n acme -o jsonpath='{.status.id}')
  type_in "$(validate_as WEB TOKEN)"
  must_print 'HTTP 200' '"active":true' '"principal":"appUser"' '"appUserId":"user-123"' \
    "\"userPoolId\":\"$pool\"" "\"sdkClientId\":\"$WEB\""
  ok 'the token is valid; the response has its appUserId, UserPool and SdkClient'
}

tamper() {
  step 'An attacker edits the token: user-123 becomes user-456, under the same signature'
  # shellcheck disable=SC2016
  type_in 'decode() { sed -E '\''y|-_|+/|; :pad; /^(.{4})*$/! { s/$/=/; b pad }'\'' | base64 -d; }'
  type_in "encode() { base64 -w 0 | sed 'y|+/|-_|; s/=*\$//'; }"
  # shellcheck disable=SC2016
  type_in 'IFS=. read -r HEADER PAYLOAD SIGNATURE <<<"$TOKEN"'
  # shellcheck disable=SC2016
  type_in 'EDITED=$(printf %s "$PAYLOAD" | decode | sed s/user-123/user-456/)'
  # shellcheck disable=SC2016
  type_in 'echo "$EDITED"'
  must_print '"sub":"user-456"'
  # shellcheck disable=SC2016
  type_in 'TAMPERED=$HEADER.$(printf %s "$EDITED" | encode).$SIGNATURE'
  type_in "$(validate_as WEB TAMPERED)"
  must_print 'HTTP 401' '"active":false' '"reason":"signature_invalid"'
  ok 'the tampered token is rejected'
}

other_pool() {
  step 'For a client of a second UserPool, the token of the first pool is invalid'
  type_in "kubectl apply -f - <<'YAML'
apiVersion: anon.dev/v1beta1
kind: UserPool
metadata: {name: merchants, namespace: acme}
spec: {hosted: {}}
---
apiVersion: anon.dev/v1beta1
kind: SdkClient
metadata: {name: portal, namespace: acme}
spec: {webapp: {userPoolRef: {name: merchants}}}
YAML"
  must_succeed
  type_in 'kubectl wait userpool/merchants sdkclient/portal -n acme --for=condition=Ready --timeout=60s'
  must_succeed
  type_in "PORTAL=\$(kubectl get sdkclient portal -n acme -o jsonpath='{.status.clientId}')"
  type_in_until key_unknown "$(validate_as PORTAL TOKEN)"
  must_print 'HTTP 401' '"active":false' '"reason":"key_unknown"'
  ok 'the token is rejected: the second pool has no such key'
}

verify_with_openssl() {
  step 'Verification needs only the public key set, not the operator: openssl verifies the token' \
    'First, n and e of the JWK (RFC 7518) become a public key in PEM format:'
  # shellcheck disable=SC2016
  {
    type_in 'JWKS=$(curl -sS "$(kubectl get userpool users -n acme -o jsonpath='\''{.status.jwksUri}'\'')"); echo "$JWKS"'
    must_print '"kty":"RSA"' '"alg":"RS256"'
    type_in 'member() { sed "s/.*\"$1\":\"\([^\"]*\)\".*/\1/" <<<"$JWKS" | decode | basenc --base16 -w 0; }'
    type_in 'cat >"$WORK/key.conf" <<CONF
asn1 = SEQUENCE:key
[key]
algorithm = SEQUENCE:algorithm
bits = BITWRAP,SEQUENCE:numbers
[algorithm]
name = OID:rsaEncryption
parameters = NULL
[numbers]
n = INTEGER:0x$(member n)
e = INTEGER:0x$(member e)
CONF'
    must_succeed
    type_in 'openssl asn1parse -genconf "$WORK/key.conf" -noout -out "$WORK/key.der"'
    must_succeed
    type_in 'openssl pkey -pubin -inform DER -in "$WORK/key.der" -out "$WORK/key.pem" && head -n 2 "$WORK/key.pem"'
    must_succeed
    type_in 'printf %s "$SIGNATURE" | decode >"$WORK/signature"'
    must_succeed
    type_in 'printf %s "${TOKEN%.*}" | openssl dgst -sha256 -verify "$WORK/key.pem" -signature "$WORK/signature"'
    must_succeed
    must_print 'Verified OK'
    ok 'openssl accepts the token'
    type_in 'printf %s "${TAMPERED%.*}" | openssl dgst -sha256 -verify "$WORK/key.pem" -signature "$WORK/signature"'
    ((CODE != 0)) || fail 'openssl rejects the tampered token'
    must_print 'Verification failure'
    ok 'openssl rejects the tampered token'
  }
}

delete_client() {
  step 'The backend is decommissioned: its API key is rejected immediately'
  local typed returned rejected late
  # shellcheck disable=SC2016
  local ask='curl -sS --max-time 5 -w "\nHTTP %{http_code}\n" -X POST "$ANON_VALIDATOR_URL/v1/validate" -H "Authorization: Bearer $API_KEY"'
  type_in "$ask"
  must_print 'HTTP 200' '"principal":"apiKey"' '"role":"Member"'
  typed=$EPOCHREALTIME
  type_in 'kubectl delete sdkclient backend -n acme'
  returned=$EPOCHREALTIME
  must_succeed
  # Waits longer than is allowed, to be able to report the delay.
  until evaluate "$ask" && [[ $OUT == *'HTTP 401'* ]] || (($(since "$returned") > 5000)); do
    sleep 0.01
  done
  rejected=$EPOCHREALTIME
  late=$(since "$returned" "$rejected")
  printf '\n%s$ %s%s\n' "$DIM" "$ask" "$PLAIN"
  print_out
  [[ $OUT == *'HTTP 401'* ]] || fail "the API key is rejected within a second (it was still accepted $late ms after kubectl returned)"
  must_print '"reason":"api_key_unknown"'
  ((late <= 1000)) || fail "the API key is rejected within a second (it was rejected $late ms after kubectl returned)"
  ok "the API key was rejected $late ms after kubectl returned, $(since "$typed" "$rejected") ms after kubectl was started"
}

# since START [END]: milliseconds between two values of EPOCHREALTIME, whose
# decimal separator depends on the locale.
since() {
  local end=${2:-$EPOCHREALTIME}
  echo $(((${end//[!0-9]/} - ${1//[!0-9]/}) / 1000))
}

# --- the cluster for the steps ------------------------------------------------

main() {
  local code=0 launcher started=$SECONDS
  "$ROOT/dev/prerequisites"
  echo 'Building the operator and starting a Kubernetes API server, without containers, on 127.0.0.1 only.'
  # In the background, with the signals forwarded, so that `kill` ends all of it.
  env --default-signal=INT,QUIT "$ROOT/dev/cluster" run "$ROOT/dev/demo.sh" --steps "$WORK" &
  launcher=$!
  trap 'kill -s INT "$launcher" 2>/dev/null' INT TERM HUP
  # A signal interrupts the wait, but not the launcher, which then cleans up.
  while :; do
    code=0
    wait "$launcher" || code=$?
    kill -0 "$launcher" 2>/dev/null || break
  done
  trap - INT TERM HUP
  ((code == 0)) || exit "$code"
  STEP=$(<"$WORK/step")
  all_stopped
  printf '\n%s\n' "${BOLD}All checks passed in $((SECONDS - started)) s.$PLAIN To try it yourself: make up"
}

# --- or a cluster of the user -------------------------------------------------

# on_cluster: installs the chart on the cluster of $KUBECONFIG, forwards a port of
# this machine to it, and removes everything afterwards.
on_cluster() {
  local started=$SECONDS program found
  for program in kubectl helm curl openssl jq; do
    command -v "$program" >/dev/null || fail "$program is installed"
  done
  : "${IMAGE:?IMAGE is not set: the image of the operator, which the nodes have or can pull}"
  # Everything that exists is removed at the end, so nothing of it may belong to another owner.
  found=$(kubectl get crd/userpools.anon.dev namespace/acme namespace/anon-system --ignore-not-found --output=name) ||
    fail 'the cluster answers'
  [[ ! $found ]] || fail "the cluster has nothing that this would delete: remove ${found//$'\n'/, }, or use another one"
  INSTALLED=yes

  # One replica, because the port is forwarded to one Pod.
  ANON_API_URL=http://127.0.0.1:$((20000 + SRANDOM % 12000))
  export ANON_API_URL ANON_VALIDATOR_URL=$ANON_API_URL
  printf 'Installing the chart on the cluster of %s.\n' "${KUBECONFIG:-your kubeconfig}"
  helm install anon-operator "$ROOT/charts/anon-operator" --namespace=anon-system --create-namespace \
    --set="image.repository=${IMAGE%:*}" --set="image.tag=${IMAGE##*:}" --set=replicas=1 \
    --set="publicUrl=$ANON_API_URL" --wait --timeout=3m >"$WORK/helm.log" || fail 'helm install succeeds'
  kubectl port-forward service/anon-operator "${ANON_API_URL##*:}:8080" -n anon-system >"$WORK/forward.log" 2>&1 &
  FORWARD=$!
  until curl -sf --noproxy '*' --max-time 5 -o /dev/null "$ANON_API_URL/openapi.json"; do
    kill -0 "$FORWARD" 2>/dev/null || fail "kubectl port-forward succeeds: $(<"$WORK/forward.log")"
    sleep 0.2
  done
  steps
  printf '\n%s\n' "${BOLD}All checks passed in $((SECONDS - started)) s.$PLAIN Removing what was installed."
}

# shellcheck disable=SC2317,SC2329 # invoked by the trap
uninstall() {
  local code=$?
  [[ ! ${FORWARD:-} ]] || kill "$FORWARD" 2>/dev/null
  if [[ ${INSTALLED:-} ]]; then
    kubectl delete namespace acme --ignore-not-found
    helm uninstall anon-operator --namespace=anon-system --ignore-not-found --wait
    kubectl delete crd {organizations,members,userpools,sdkclients,revocations}.anon.dev --ignore-not-found
    kubectl delete namespace anon-system --ignore-not-found
  fi >/dev/null 2>&1
  rm -rf "$WORK"
  exit "$code"
}

# all_stopped: checks that the cluster has left neither a process nor a file.
all_stopped() {
  local directory url
  step 'The cluster is stopped and removed'
  { read -r directory && read -r url; } <"$WORK/cluster"
  [[ ! -e $directory ]] || fail "directory $directory is removed"
  ! grep -qz "^ANON_DEV_PROCESS=[a-z-]*@$directory\$" /proc/[0-9]*/environ 2>/dev/null ||
    fail 'no process of the cluster is running'
  ! curl -s --max-time 2 --noproxy '*' -o /dev/null "$url/readyz" || fail "nothing listens at $url"
  ok 'no process, open port or file of the cluster is left'
}

case ${1:-} in
  '')
    WORK=$(mktemp -d "${TMPDIR:-/tmp}/anon-demo.XXXXXX")
    trap 'rm -rf "$WORK"' EXIT
    main
    ;;
  --on-cluster)
    WORK=$(mktemp -d "${TMPDIR:-/tmp}/anon-demo.XXXXXX")
    trap uninstall EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    on_cluster
    ;;
  --steps)
    WORK=$2
    printf '%s\n' "$ANON_DEV_DIR" "$ANON_API_URL" >"$WORK/cluster"
    steps
    echo "$STEP" >"$WORK/step"
    ;;
  *)
    echo 'dev/demo.sh takes no arguments but --on-cluster' >&2
    exit 2
    ;;
esac

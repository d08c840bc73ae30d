#!/usr/bin/env bash
# The main job, step by step, on a real API server: what `make demo` shows.
#
# Every command that is printed is the command that is run (`type_in` evaluates
# the text that it prints), what follows it is its output, and every "ok" was
# checked. The exit code is 0 only if all of them held.
set -euo pipefail

ROOT=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd)
readonly ROOT

if [[ -t 1 && ! ${NO_COLOR:-} ]]; then
  BOLD=$'\e[1m' GREEN=$'\e[32m' RED=$'\e[31m' DIM=$'\e[2m' PLAIN=$'\e[0m'
else
  BOLD='' GREEN='' RED='' DIM='' PLAIN=''
fi

# --- the transcript -----------------------------------------------------------

# step CAPTION…: one paragraph.
step() {
  STEP=$((${STEP:-0} + 1))
  printf '\n%s%s\n' "$BOLD$STEP. $1" "$PLAIN"
  shift
  (($# == 0)) || printf '   %s\n' "$@"
}

# type_in TEXT: prints a command as one would type it and runs it in this shell;
# OUT is what it said. (A file, because a subshell could set no variables.)
type_in() {
  printf '\n%s$ %s%s\n' "$DIM" "$1" "$PLAIN"
  evaluate "$1"
  print_out
}

# type_in_until WHAT TEXT: the same, again and again for up to five seconds until
# the output has WHAT: an object that has just been made reaches the validator a
# few milliseconds after it reaches kubectl. The last output is the one shown.
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

# print_out: indented; long JSON is broken between its members.
print_out() {
  [[ ! $OUT ]] || printf '%s\n' "$OUT" | sed -E '/^\{.{100}/ s/,"/,\n "/g' | sed 's/^/  /'
}

ok() { printf '  %s\n' "${GREEN}ok: $1$PLAIN"; }

fail() {
  printf '%s\n' "${RED}demo: this did not hold: $1$PLAIN" >&2
  exit 1
}

# must_succeed; must_say TEXT…: about the last command.
must_succeed() { ((CODE == 0)) || fail "the command failed with exit code $CODE"; }

must_say() {
  local text
  for text; do
    [[ $OUT == *"$text"* ]] || fail "the output has $text"
  done
}

# --- the steps, inside a cluster of their own ---------------------------------

steps() {
  cd "$ROOT"
  printf '\n%s\n' "A Kubernetes API server and anon-operator are running. The operator has the rights of
the chart's ServiceAccount; kubectl below is the cluster's administrator.
Long JSON is broken into lines for reading; nothing else is edited."

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
  step 'A company declares its users, its frontend, its backend and its first member of staff' \
    'One namespace is one organization. README.md goes through the file.'
  type_in 'kubectl apply -f examples/quickstart.yaml'
  must_succeed
  type_in 'kubectl wait anon --all -n acme --for=condition=Ready --timeout=60s'
  must_succeed
  type_in 'kubectl get anon -n acme'
  must_succeed
  type_in "kubectl get anon -n acme -o jsonpath='{range .items[*]}{.kind}/{.metadata.name} Ready={.status.conditions[?(@.type==\"Ready\")].status}{\"\\n\"}{end}'"
  must_say Organization/default\ Ready=True UserPool/users\ Ready=True SdkClient/web\ Ready=True \
    SdkClient/backend\ Ready=True Member/ada\ Ready=True
  ok 'all five are Ready'
}

read_key() {
  step 'The operator made an ApiKey for the backend and put it into a Secret' \
    'The custom resource has only its SHA-256.'
  type_in "API_KEY=\$(kubectl get secret backend-anon -n acme -o jsonpath='{.data.apiKey}' | base64 -d)"
  must_succeed
  # shellcheck disable=SC2016
  type_in 'echo "${API_KEY:0:16}…"'
  [[ $API_KEY =~ ^ory_apikey_[0-9A-Za-z]{49}$ ]] || fail 'the Secret has an ApiKey'
  local sha256
  sha256=$(printf '%s' "$API_KEY" | openssl dgst -sha256 -r)
  type_in "kubectl get sdkclient backend -n acme -o jsonpath='{.status.keys[*].sha256}'"
  must_say "${sha256%% *}"
  ok 'openssl gets the same SHA-256 from the key in the Secret'
}

mint() {
  step 'With its ApiKey the backend asks for a token for user-123 of the web shop'
  type_in "WEB=\$(kubectl get sdkclient web -n acme -o jsonpath='{.status.clientId}')"
  # shellcheck disable=SC2016
  type_in_until appUserIdToken 'curl -sS "$ANON_API_URL/org/appUserIdToken" -H "Authorization: Bearer $API_KEY" \
    -d "{\"appUserId\": \"user-123\", \"sdkClientId\": \"$WEB\"}" | tee "$WORK/minted" | cut -c 1-100'
  # shellcheck disable=SC2016
  type_in 'TOKEN=$(sed '\''s/.*"appUserIdToken":"\([^"]*\)".*/\1/'\'' "$WORK/minted")'
  [[ $TOKEN =~ ^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$ ]] || fail 'the reply has a JWT'
  ok "a JWT of ${#TOKEN} characters"
}

# validate_as CLIENT TOKEN: names of variables; the text of the command.
validate_as() {
  # shellcheck disable=SC2016
  printf 'curl -sS -w "\\nHTTP %%{http_code}\\n" -X POST "$ANON_VALIDATOR_URL/v1/validate" \\
    -H "Authorization: Bearer $%s" -H "X-Anon-Sdk-Client-Id: $%s"' "$2" "$1"
}

validate() {
  step 'Any backend can ask whether the token counts, and whose it is'
  local pool
  pool=$(kubectl get userpool users -n acme -o jsonpath='{.status.id}')
  type_in "$(validate_as WEB TOKEN)"
  must_say 'HTTP 200' '"active":true' '"principal":"appUser"' '"appUserId":"user-123"' \
    "\"userPoolId\":\"$pool\"" "\"sdkClientId\":\"$WEB\""
  ok 'active, with the appUserId, the UserPool and the SdkClient'
}

tamper() {
  step 'Somebody edits the token: user-123 becomes user-456, the signature stays'
  # shellcheck disable=SC2016
  type_in 'decode() { sed -E '\''y|-_|+/|; :pad; /^(.{4})*$/! { s/$/=/; b pad }'\'' | base64 -d; }'
  type_in "encode() { base64 -w 0 | sed 'y|+/|-_|; s/=*\$//'; }"
  # shellcheck disable=SC2016
  type_in 'IFS=. read -r HEADER PAYLOAD SIGNATURE <<<"$TOKEN"'
  # shellcheck disable=SC2016
  type_in 'EDITED=$(printf %s "$PAYLOAD" | decode | sed s/user-123/user-456/)'
  # shellcheck disable=SC2016
  type_in 'echo "$EDITED"'
  must_say '"sub":"user-456"'
  # shellcheck disable=SC2016
  type_in 'TAMPERED=$HEADER.$(printf %s "$EDITED" | encode).$SIGNATURE'
  type_in "$(validate_as WEB TAMPERED)"
  must_say 'HTTP 401' '"active":false' '"reason":"signature_invalid"'
  ok 'refused'
}

other_pool() {
  step 'A second UserPool with a client of its own: the first token does not count there'
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
  must_say 'HTTP 401' '"active":false' '"reason":"key_unknown"'
  ok "refused: the other pool has no such key"
}

verify_with_openssl() {
  step 'Nobody has to ask us: with the public key set, openssl alone verifies the token' \
    'From n and e of the JWK (RFC 7518) to a public key in PEM:'
  # shellcheck disable=SC2016
  {
    type_in 'JWKS=$(curl -sS "$(kubectl get userpool users -n acme -o jsonpath='\''{.status.jwksUri}'\'')"); echo "$JWKS"'
    must_say '"kty":"RSA"' '"alg":"RS256"'
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
    must_say 'Verified OK'
    ok 'openssl accepts the token'
    type_in 'printf %s "${TAMPERED%.*}" | openssl dgst -sha256 -verify "$WORK/key.pem" -signature "$WORK/signature"'
    ((CODE != 0)) || fail 'openssl refuses the tampered token'
    must_say 'Verification failure'
    ok 'and refuses the tampered one'
  }
}

delete_client() {
  step 'The backend is taken out of service: its key stops working at once'
  local typed returned refused late
  # shellcheck disable=SC2016
  local ask='curl -sS --max-time 5 -w "\nHTTP %{http_code}\n" -X POST "$ANON_VALIDATOR_URL/v1/validate" -H "Authorization: Bearer $API_KEY"'
  type_in "$ask"
  must_say 'HTTP 200' '"principal":"apiKey"' '"role":"Member"'
  typed=$EPOCHREALTIME
  type_in 'kubectl delete sdkclient backend -n acme'
  returned=$EPOCHREALTIME
  must_succeed
  # Longer than it may take: so that it can be told how late it was.
  until evaluate "$ask" && [[ $OUT == *'HTTP 401'* ]] || (($(since "$returned") > 5000)); do
    sleep 0.01
  done
  refused=$EPOCHREALTIME
  late=$(since "$returned" "$refused")
  printf '\n%s$ %s%s\n' "$DIM" "$ask" "$PLAIN"
  print_out
  [[ $OUT == *'HTTP 401'* ]] || fail "the key is refused within a second: it was not, $late ms after kubectl returned"
  must_say '"reason":"api_key_unknown"'
  ((late <= 1000)) || fail "the key is refused within a second: it was refused $late ms after kubectl returned"
  ok "refused $late ms after kubectl returned, $(since "$typed" "$refused") ms after it was started"
}

# since BEGIN [END]: milliseconds between two EPOCHREALTIMEs, whose decimal sign
# depends on the locale.
since() {
  local end=${2:-$EPOCHREALTIME}
  echo $(((${end//[!0-9]/} - ${1//[!0-9]/}) / 1000))
}

# --- the cluster around them --------------------------------------------------

main() {
  local code=0 launcher started=$SECONDS
  "$ROOT/dev/prerequisites"
  echo 'First the operator is built and a Kubernetes API server started: no containers, all on 127.0.0.1.'
  # In the background, and the signals handed on: so `kill` ends all of it too.
  env --default-signal=INT,QUIT "$ROOT/dev/cluster" run "$ROOT/dev/demo.sh" --steps "$WORK" &
  launcher=$!
  trap 'kill -s INT "$launcher" 2>/dev/null' INT TERM HUP
  # A signal ends the wait, not the launcher, which is tidying up then.
  while :; do
    code=0
    wait "$launcher" || code=$?
    kill -0 "$launcher" 2>/dev/null || break
  done
  trap - INT TERM HUP
  ((code == 0)) || exit "$code"
  STEP=$(<"$WORK/step")
  all_stopped
  printf '\n%s\n' "${BOLD}All of this held. It took $((SECONDS - started)) s.$PLAIN To play with it yourself: make up"
}

# all_stopped: neither a process nor a file is left of the cluster.
all_stopped() {
  local directory url
  step 'Everything is stopped'
  { read -r directory && read -r url; } <"$WORK/cluster"
  [[ ! -e $directory ]] || fail "$directory is removed"
  ! grep -qz "^ANON_DEV_PROCESS=[a-z-]*@$directory\$" /proc/[0-9]*/environ 2>/dev/null ||
    fail 'no process of the cluster is left'
  ! curl -s --max-time 2 --noproxy '*' -o /dev/null "$url/readyz" || fail "nothing answers at $url"
  ok 'no process, no port and no file of the cluster is left'
}

case ${1:-} in
  '')
    WORK=$(mktemp -d "${TMPDIR:-/tmp}/anon-demo.XXXXXX")
    trap 'rm -rf "$WORK"' EXIT
    main
    ;;
  --steps)
    WORK=$2
    printf '%s\n' "$ANON_DEV_DIR" "$ANON_API_URL" >"$WORK/cluster"
    steps
    echo "$STEP" >"$WORK/step"
    ;;
  *)
    echo 'dev/demo.sh takes no arguments' >&2
    exit 2
    ;;
esac

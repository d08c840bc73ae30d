# shellcheck shell=bash
# Checks of the tests that are shell scripts: of dev/cluster, and end to end. The
# test sets SCRATCH, the directory for its files.

PASSED=0

# section TITLE…
section() { printf '\n%s (after %s s)\n' "$*" "$SECONDS"; }

ok() {
  PASSED=$((PASSED + 1))
  printf '  ok: %s\n' "$1"
}

# fail STATEMENT DETAIL…: reports that the statement is not true, and exits.
fail() {
  local log
  printf '  FAILED: %s\n' "$@" >&2
  for log in "$SCRATCH"/*.err; do
    [[ ! -s $log ]] || printf '  last lines of the stderr of %s:\n%s\n' "$(basename "$log" .err)" "$(tail -n 15 "$log" | sed 's/^/    /')" >&2
  done
  printf '%s passed, 1 failed\n' "$PASSED"
  exit 1
}

# check STATEMENT COMMAND…: the statement is true if the command succeeds.
check() {
  "${@:2}" || fail "$1"
  ok "$1"
}

# same STATEMENT EXPECTED FOUND: the statement is true if both are equal.
same() {
  [[ $3 == "$2" ]] || fail "$1" "expected: $2" "found: $3"
  ok "$1"
}

# has STATEMENT EXPECTED TEXT: the statement is true if the text contains EXPECTED.
has() {
  [[ $3 == *"$2"* ]] || fail "$1" "expected: $2" "found: $3"
  ok "$1"
}

# within SECONDS COMMAND…: repeats the command until it succeeds.
within() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.05
  done
}

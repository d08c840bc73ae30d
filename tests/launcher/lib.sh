# shellcheck shell=bash
# What the tests of dev/cluster are written with. Nothing here is of dev/lib: a
# test does not measure with the ruler that it tests.

# The directory of the test; everything it makes is in there. `tidy` removes it.
SCRATCH=''
PASSED=0
# The launchers that were started, by name, and the exit code of the last that
# was waited for.
declare -A LAUNCHERS=()
CODE=0

say() { printf '\n%s (%s s so far)\n' "$*" "$SECONDS"; }

ok() {
  PASSED=$((PASSED + 1))
  printf '  ok: %s\n' "$1"
}

fail() {
  local log
  printf '  FAILED: %s\n' "$@" >&2
  for log in "$SCRATCH"/*.err; do
    [[ ! -s $log ]] || printf '  %s said:\n%s\n' "$(basename "$log" .err)" "$(tail -n 15 "$log" | sed 's/^/    /')" >&2
  done
  printf '%s passed, 1 failed\n' "$PASSED"
  exit 1
}

# check WHAT COMMAND…: WHAT holds if the command succeeds.
check() {
  "${@:2}" || fail "$1"
  ok "$1"
}

# same WHAT WANTED FOUND
same() {
  [[ $3 == "$2" ]] || fail "$1" "wanted: $2" "found: $3"
  ok "$1"
}

# has WHAT WANTED TEXT: the text has this in it.
has() {
  [[ $3 == *"$2"* ]] || fail "$1" "wanted: $2" "found: $3"
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

# --- launchers ----------------------------------------------------------------

# start NAME ARGUMENT…: dev/cluster in the background, with a process group of
# its own, as a terminal's job has. What it says goes to NAME.out and NAME.err.
#
# Every process below it carries the first word of NAME in its environment, so
# that what it leaves is found even if it is not marked as it should be.
start() {
  local name=$1 tag=${1%%-*} keep=()
  shift
  [[ ! $KEEP_LOGS ]] || keep=("ANON_DEV_KEEP_LOGS=$KEEP_LOGS/$name")
  mkdir -p "$SCRATCH/tmp/$tag"
  # Without the reset of the signals a background command ignores Ctrl-C.
  env --default-signal=INT,QUIT "ANON_LAUNCHER_TEST=$SCRATCH/$tag" TMPDIR="$SCRATCH/tmp/$tag" "${keep[@]}" \
    setsid "$LAUNCHER" "$@" <&0 >"$SCRATCH/$name.out" 2>"$SCRATCH/$name.err" &
  LAUNCHERS[$name]=$!
}

# finish NAME: waits for it; CODE.
finish() {
  # (bash tells on stderr of whatever KILL has ended.) Generous: without
  # ANON_OPERATOR_BIN it compiles the operator.
  within 900 ended "$1" 2>/dev/null || fail "$1: the launcher ends"
  CODE=0
  wait "${LAUNCHERS[$1]}" 2>/dev/null || CODE=$?
}

# await NAME WHAT COMMAND…: until the command succeeds, while the launcher runs.
await() {
  within 120 ended_or "$1" "${@:3}" || fail "$2"
  if ended "$1"; then
    fail "$2" 'the launcher has ended before'
  fi
}

ended_or() { "${@:2}" || ended "$1"; }

# there_is NAME: a file, somewhere.
there_is() { [[ -n $(find "$SCRATCH" -name "$1" 2>/dev/null) ]]; }

ended() { ! kill -0 "${LAUNCHERS[$1]}" 2>/dev/null; }

launch() {
  start "$@"
  finish "$1"
}

# must NAME ARGUMENT…: launches it, and fails if that fails.
must() {
  launch "$@"
  ((CODE == 0)) || fail "dev/cluster ${*:2} succeeds (exit code $CODE)"
}

said() { cat "$SCRATCH/$1.out" "$SCRATCH/$1.err"; }

# --- processes ----------------------------------------------------------------

# carrying ENTRY…: the processes with one of these in their environment.
carrying() {
  local entry patterns=()
  for entry; do
    patterns+=(-e "$entry")
  done
  # Processes end while grep reads: its complaints and its exit code mean nothing.
  { grep -lzxF "${patterns[@]}" /proc/[0-9]*/environ 2>/dev/null || true; } | cut -d/ -f3
}

# traces TAG DIR: what launchers of that name have started, and whatever is
# marked as a process of the cluster in DIR.
traces() {
  carrying "ANON_LAUNCHER_TEST=$SCRATCH/$1" \
    ANON_DEV_PROCESS={janitor,command,operator,controller-manager,apiserver,etcd}@"$2"
}

# traces_of_all: whatever the test has started.
traces_of_all() {
  local tag entries=()
  for tag in "$SCRATCH"/tmp/*; do
    entries+=("ANON_LAUNCHER_TEST=$SCRATCH/${tag##*/}")
  done
  carrying "${entries[@]}"
}

# nothing_left TAG DIR: neither a process nor a file.
nothing_left() { [[ ! -e $2 && -z $(traces "$1" "$2") && -z $(ls -A "$SCRATCH/tmp/$1") ]]; }

# all_gone WHAT TAG DIR SECONDS: the same within that time, as a check.
all_gone() {
  local pid left=()
  within "$4" nothing_left "$2" "$3" || {
    for pid in $(traces "$2" "$3"); do
      left+=("process $pid: $({ tr '\0' ' ' <"/proc/$pid/cmdline"; } 2>/dev/null || echo 'ends just now')")
    done
    fail "$1" "${left[@]}" "$(ls -d "$3" "$SCRATCH/tmp/$2"/* 2>/dev/null || true)"
  }
  ok "$1"
}

# listening PID…: what they listen on, TCP and UDP, in the hexadecimal form of
# /proc/net.
listening() {
  local pid
  for pid; do
    readlink "/proc/$pid/fd/"* 2>/dev/null || true
  done | sed -n 's/^socket:\[\([0-9]*\)\]$/\1/p' >"$SCRATCH/sockets"
  # 0A: a TCP socket that listens. 07: a UDP socket without a peer.
  cat /proc/net/{tcp,tcp6,udp,udp6} 2>/dev/null |
    awk 'NR == FNR { ours[$1]; next } ($4 == "0A" || $4 == "07") && $10 in ours { print $2 }' "$SCRATCH/sockets" -
}

# --- the end ------------------------------------------------------------------

# shellcheck disable=SC2317,SC2329 # invoked by the trap
tidy() {
  local code=$?
  trap - EXIT
  trap '' INT TERM HUP
  set +e
  [[ $SCRATCH ]] || exit "$code"
  # The launchers that still run tidy up what is theirs; the rest is found by
  # what it carries.
  mapfile -t running <<<"$(jobs -pr)"
  [[ ! ${running[0]} ]] || kill "${running[@]}" 2>/dev/null
  within 30 no_jobs
  keep_logs
  within 30 no_process
  rm -rf "$SCRATCH"
  exit "$code"
}

no_jobs() { [[ -z $(jobs -pr) ]]; }

# no_process: of all that the test has started; ends what there is.
no_process() {
  local left
  mapfile -t left < <(traces_of_all)
  ((${#left[@]} == 0)) || { kill -s KILL "${left[@]}" 2>/dev/null && false; }
}

# keep_logs: what the launchers have said, and the logs of a cluster that is
# still there. Those of the others are kept by their launchers.
keep_logs() {
  [[ $KEEP_LOGS ]] || return
  mkdir -p "$KEEP_LOGS" && find "$SCRATCH" -maxdepth 2 \( -name '*.log' -o -name '*.out' -o -name '*.err' \) -exec cp -t "$KEEP_LOGS" {} +
}

# shellcheck shell=bash
# Helpers for the tests of dev/cluster. They use nothing from dev/lib, because a
# test must not rely on the code that it tests.

# shellcheck source=tests/shell/checks.sh
source "$ROOT/tests/shell/checks.sh"

# The directory of the test, for everything that it creates. `clean_up` removes it.
SCRATCH=''
# The launchers that were started, by name, and the exit code of the last one that
# was waited for.
declare -A LAUNCHERS=()
CODE=0

# --- launchers ----------------------------------------------------------------

# start NAME ARGUMENT…: starts dev/cluster in the background, in its own process
# group, like a job of a terminal. Its output goes to NAME.out and NAME.err.
#
# Every process that it starts has the first word of NAME in its environment, so
# that leftover processes are found even if they lack the launcher's mark.
start() {
  local name=$1 tag=${1%%-*} keep=()
  shift
  [[ ! $KEEP_LOGS ]] || keep=("ANON_DEV_KEEP_LOGS=$KEEP_LOGS/$name")
  mkdir -p "$SCRATCH/tmp/$tag"
  # A background command ignores Ctrl-C unless the signals are reset.
  env --default-signal=INT,QUIT "ANON_LAUNCHER_TEST=$SCRATCH/$tag" TMPDIR="$SCRATCH/tmp/$tag" "${keep[@]}" \
    setsid "$LAUNCHER" "$@" <&0 >"$SCRATCH/$name.out" 2>"$SCRATCH/$name.err" &
  LAUNCHERS[$name]=$!
}

# finish NAME: waits for the launcher, and sets CODE to its exit code.
finish() {
  # The limit is generous, because the launcher compiles the operator if
  # ANON_OPERATOR_BIN is unset. (bash reports on stderr each process that was
  # killed.)
  within 900 ended "$1" 2>/dev/null || fail "$1: the launcher exits"
  CODE=0
  wait "${LAUNCHERS[$1]}" 2>/dev/null || CODE=$?
}

# await NAME STATEMENT COMMAND…: waits until the command succeeds, which must
# happen while the launcher is running.
await() {
  within 300 ended_or "$1" "${@:3}" || fail "$2"
  if ended "$1"; then
    fail "$2" 'the launcher exited before'
  fi
}

ended_or() { "${@:2}" || ended "$1"; }

# file_exists NAME: a file of that name exists somewhere below SCRATCH.
file_exists() { [[ -n $(find "$SCRATCH" -name "$1" 2>/dev/null) ]]; }

ended() { ! kill -0 "${LAUNCHERS[$1]}" 2>/dev/null; }

# launch NAME ARGUMENT…: runs the launcher until it exits.
launch() {
  start "$@"
  finish "$1"
}

# must NAME ARGUMENT…: the same; the test fails if the launcher fails.
must() {
  launch "$@"
  ((CODE == 0)) || fail "dev/cluster ${*:2} succeeds (exit code $CODE)"
}

# output_of NAME: what the launcher printed.
output_of() { cat "$SCRATCH/$1.out" "$SCRATCH/$1.err"; }

# --- processes ----------------------------------------------------------------

# with_environment ENTRY…: prints the processes that have one of these entries in
# their environment.
with_environment() {
  local entry patterns=()
  for entry; do
    patterns+=(-e "$entry")
  done
  # Processes may exit while grep reads, so its errors and its exit code are
  # ignored.
  { grep -lzxF "${patterns[@]}" /proc/[0-9]*/environ 2>/dev/null || true; } | cut -d/ -f3
}

# processes_of TAG DIR: prints the processes that the launchers of that tag
# started, and those that are marked as processes of the cluster in DIR.
processes_of() {
  with_environment "ANON_LAUNCHER_TEST=$SCRATCH/$1" \
    ANON_DEV_PROCESS={janitor,command,operator,{containerd,kubelet}-{1,2},kube-proxy,scheduler,controller-manager,apiserver,etcd}@"$2"
}

# all_processes: prints all processes that the test started.
all_processes() {
  local tag entries=()
  for tag in "$SCRATCH"/tmp/*; do
    entries+=("ANON_LAUNCHER_TEST=$SCRATCH/${tag##*/}")
  done
  with_environment "${entries[@]}"
}

# nothing_left TAG DIR: there is neither a process nor a file.
nothing_left() { [[ ! -e $2 && -z $(processes_of "$1" "$2") && -z $(ls -A "$SCRATCH/tmp/$1") ]]; }

# check_nothing_left STATEMENT TAG DIR SECONDS: checks that, within that time.
check_nothing_left() {
  local pid left=()
  within "$4" nothing_left "$2" "$3" || {
    for pid in $(processes_of "$2" "$3"); do
      left+=("process $pid: $({ tr '\0' ' ' <"/proc/$pid/cmdline"; } 2>/dev/null || echo 'has just exited')")
    done
    fail "$1" "${left[@]}" "$(ls -d "$3" "$SCRATCH/tmp/$2"/* 2>/dev/null || true)"
  }
  ok "$1"
}

# listening PID…: prints the addresses on which these processes listen, TCP and
# UDP, in the hexadecimal form of /proc/net.
listening() {
  local pid
  for pid; do
    readlink "/proc/$pid/fd/"* 2>/dev/null || true
  done | sed -n 's/^socket:\[\([0-9]*\)\]$/\1/p' >"$SCRATCH/sockets"
  # 0A is a listening TCP socket, 07 an unconnected UDP socket.
  cat /proc/net/{tcp,tcp6,udp,udp6} 2>/dev/null |
    awk 'NR == FNR { ours[$1]; next } ($4 == "0A" || $4 == "07") && $10 in ours { print $2 }' "$SCRATCH/sockets" -
}

# --- cleanup ------------------------------------------------------------------

# shellcheck disable=SC2317,SC2329 # invoked by the trap
clean_up() {
  local code=$?
  trap - EXIT
  trap '' INT TERM HUP
  set +e
  [[ $SCRATCH ]] || exit "$code"
  # Launchers that are still running clean up after themselves. Other processes
  # are found by their environment.
  mapfile -t running <<<"$(jobs -pr)"
  [[ ! ${running[0]} ]] || kill "${running[@]}" 2>/dev/null
  within 30 no_jobs
  keep_logs
  within 30 no_process
  rm -rf "$SCRATCH"
  exit "$code"
}

no_jobs() { [[ -z $(jobs -pr) ]]; }

# no_process: no process that the test started is left; kills the ones that are.
no_process() {
  local left
  mapfile -t left < <(all_processes)
  ((${#left[@]} == 0)) || { kill -s KILL "${left[@]}" 2>/dev/null && false; }
}

# keep_logs: copies the output of the launchers, and the logs of a cluster that
# still exists. Launchers copy the logs of the clusters that they remove.
keep_logs() {
  [[ $KEEP_LOGS ]] || return
  mkdir -p "$KEEP_LOGS" && find "$SCRATCH" -maxdepth 2 \( -name '*.log' -o -name '*.out' -o -name '*.err' \) -exec cp -t "$KEEP_LOGS" {} +
}

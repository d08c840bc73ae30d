# shellcheck shell=bash
# Processes are started with a mark in their environment, found by it, and
# terminated by it.
#
# There are no pid files. Every process of a cluster has
# ANON_DEV_PROCESS=ROLE@DIRECTORY in its environment, its children inherit it, and
# /proc shows it. A reused pid is therefore never mistaken for a process of the
# cluster. A process is found even if the launcher was killed right after starting
# it, or if `cargo clean` removed the directory. Processes that a test started and
# did not stop are found as well.

readonly MARK=ANON_DEV_PROCESS

# The command with which `run` wraps a daemon, so that it dies with the launcher.
LEASH=()

# find_processes MARK…: sets FOUND to the processes that have one of these marks.
#
# While a process replaces its program (execve), /proc shows no environment of it.
# It is then read again, or it would be overlooked, and left running.
#
# No command substitution, because a Ctrl-C is lost on bash while it starts one, and
# what waits for a process calls this all the time.
find_processes() {
  local mark pid entry file tries=100 again unread=(/proc/[0-9]*/environ)
  local -A shown
  FOUND=()
  while ((${#unread[@]} && tries--)); do
    shown=()
    # One reading finds both the marks and the environments that are not shown, so
    # grep prints the marks, and of every other entry the first character. Processes
    # may exit meanwhile, so its errors and its exit code are ignored.
    while IFS=/ read -r -d '' _ _ pid entry; do
      shown[$pid]=yes
      for mark; do
        [[ $entry != "environ:$MARK=$mark" ]] || FOUND+=("$pid")
      done
    done < <(LC_ALL=C grep -zaHo -e "^$MARK=.*" -e '^.' "${unread[@]}" 2>/dev/null)
    again=()
    for file in "${unread[@]}"; do
      pid=${file//[!0-9]/}
      [[ ${shown[$pid]:-} ]] || ! executing "$pid" || again+=("$file")
    done
    unread=("${again[@]}")
    ((${#unread[@]} == 0)) || sleep 0.01
  done
}

# executing PID: whether the process, which shows no environment, will have one.
executing() {
  local stat
  # Neither a kernel thread nor a process that has exited has a program.
  [[ -e /proc/$1/exe ]] && { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return
  # Field 3 is the state, fields 50 and 51 are start and end of the environment
  # (proc_pid_stat(5)); the name in field 2 may contain anything. During execve, they
  # are 0, then equal, as those of an empty environment. But then the process does not
  # sleep.
  read -ra stat <<<"${stat##*) }"
  ! ((stat[47] && stat[47] == stat[48])) || [[ ${stat[0]} != S ]]
}

runs() {
  find_processes "$1"
  ((${#FOUND[@]}))
}

# What find_processes has found.
FOUND=()
# The marks of the daemons that this launcher started.
SPAWNED=()

# spawn ROLE COMMAND…: starts a daemon of the cluster in $DIR, which logs to
# $DIR/ROLE.log.
#
# Because of its own session, it does not receive the terminal's Ctrl-C; the
# launcher terminates it. (File descriptor 9 is the launcher's lock on the
# directory.)
spawn() {
  local role=$1 child
  shift
  SPAWNED+=("$role@$DIR")
  env "$MARK=$role@$DIR" setsid "${LEASH[@]}" "$@" \
    </dev/null >"$DIR/$role.log" 2>&1 9>&- &
  child=$!
  # The mark appears in /proc only after the exec. Until then, bash has to
  # remember the process as its child; afterwards, the mark identifies it.
  until marked_or_gone "$child" "$role@$DIR"; do
    sleep 0.01
  done
  disown "$child" 2>/dev/null || true
}

marked_or_gone() {
  grep -qzxF "$MARK=$2" "/proc/$1/environ" 2>/dev/null || ! kill -0 "$1" 2>/dev/null
}

# terminate SECONDS MARK…: sends SIGTERM, and SIGKILL to processes that are still
# running after that time.
terminate() {
  local deadline=$((SECONDS + $1)) signal=TERM
  shift
  while find_processes "$@" && ((${#FOUND[@]})); do
    if [[ $signal == TERM ]] || ((SECONDS >= deadline)); then
      kill -s "$signal" "${FOUND[@]}" 2>/dev/null || true
      signal=KILL
    fi
    ((SECONDS < deadline + 10)) || die "cannot terminate the processes ${FOUND[*]}"
    sleep 0.05
  done
}

# terminate_own: terminates everything that this launcher started, and the
# children of that.
terminate_own() {
  local child mark
  # Processes that do not have their mark yet are still jobs of bash.
  for child in $(jobs -pr); do
    kill "$child" 2>/dev/null || true
  done
  for mark in "helper@$$" "${SPAWNED[@]}"; do
    terminate 10 "$mark"
  done
}

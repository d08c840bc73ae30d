# shellcheck shell=bash
# Processes: started with a mark in their environment, found and ended by it.
#
# There are no pid files. Every process of a cluster carries
# ANON_DEV_PROCESS=ROLE@DIRECTORY, its children inherit it, and /proc shows it.
# So a pid that was given to somebody else is never mistaken for ours, a process
# is found even if the launcher was killed right after it started it or
# `cargo clean` took the directory away, and what a test started and forgot is
# found as well.

readonly MARK=ANON_DEV_PROCESS

# What `run` puts in front of a daemon, so that it dies with the launcher.
LEASH=()

# pids MARK…: the processes that carry one of these marks, one a line.
pids() {
  local mark patterns=()
  for mark; do
    patterns+=(-e "$MARK=$mark")
  done
  # Processes end while grep reads: its complaints and its exit code mean nothing.
  { grep -lzxF "${patterns[@]}" /proc/[0-9]*/environ 2>/dev/null || true; } | cut -d/ -f3
}

runs() { [[ -n $(pids "$1") ]]; }

# The marks of the daemons that this launcher has started.
SPAWNED=()

# spawn ROLE COMMAND…: a daemon of the cluster in $DIR, logging to $DIR/ROLE.log.
#
# A session of its own keeps the Ctrl-C of the terminal away from it: the
# launcher decides when it ends. (9 is the launcher's lock on the directory.)
spawn() {
  local role=$1 child
  shift
  SPAWNED+=("$role@$DIR")
  env "$MARK=$role@$DIR" setsid "${LEASH[@]}" "$@" \
    </dev/null >"$DIR/$role.log" 2>&1 9>&- &
  child=$!
  # It has its mark a moment later. Until then bash is to remember it as its
  # child, from then on it is found by the mark.
  until marked_or_gone "$child" "$role@$DIR"; do
    sleep 0.01
  done
  disown "$child" 2>/dev/null || true
}

marked_or_gone() {
  grep -qzxF "$MARK=$2" "/proc/$1/environ" 2>/dev/null || ! kill -0 "$1" 2>/dev/null
}

# end SECONDS MARK…: TERM, and KILL for what is still there after that time.
end() {
  local deadline=$((SECONDS + $1)) found signal=TERM
  shift
  while mapfile -t found < <(pids "$@") && ((${#found[@]})); do
    if [[ $signal == TERM ]] || ((SECONDS >= deadline)); then
      kill -s "$signal" "${found[@]}" 2>/dev/null || true
      signal=KILL
    fi
    ((SECONDS < deadline + 10)) || die "cannot end the processes ${found[*]}"
    sleep 0.05
  done
}

# end_own: what this launcher has begun or spawned, and what that started.
end_own() {
  local child mark
  # Those too young to have their mark are known to bash.
  for child in $(jobs -pr); do
    kill "$child" 2>/dev/null || true
  done
  for mark in "helper@$$" "${SPAWNED[@]}"; do
    end 10 "$mark"
  done
}

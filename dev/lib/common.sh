# shellcheck shell=bash
# Used by every part of the launcher: messages, quoting, interruptible commands.

# Progress goes to stderr, because stdout is for results, such as those of `env`
# and of the command of `run`.
say() { printf '%s\n' "dev: $*" >&2; }

die() {
  say "error: $*"
  exit 1
}

# show_log FILE…: prints the last lines of each log, to show what went wrong.
show_log() {
  local log
  for log; do
    [[ -s $log ]] || continue
    say "last lines of $log:"
    tail -n 25 -- "$log" | sed 's/^/    /' >&2
  done
}

# quote WORD…: quotes the words so that any POSIX shell reads them back unchanged.
quote() {
  local word words=() IFS=' '
  for word; do
    words+=("'${word//\'/\'\\\'\'}'")
  done
  printf '%s' "${words[*]}"
}

# join_colons WORD…: joins the words with colons, like PATH.
join_colons() {
  local IFS=:
  printf '%s' "$*"
}

# start_helper COMMAND…: starts it in the background, with the standard input of
# the launcher; $! is the process.
#
# bash runs no trap while it waits for a foreground command, so a `kill` of the
# launcher would take effect only after a long build. Commands that may take long
# are therefore started in the background and then waited for. The mark lets the
# cleanup find the command and all its children. Background commands ignore
# Ctrl-C unless the signals are reset.
start_helper() {
  env --default-signal=INT,QUIT "$MARK=helper@$$" "$@" <&0 9>&- &
}

# run_helper COMMAND…: starts the command and waits for it.
run_helper() {
  start_helper "$@"
  wait $!
}

# run_helper_into LOG COMMAND…: the same, with the output in a file.
run_helper_into() {
  local log=$1
  shift
  start_helper "$@" >"$log" 2>&1
  wait $!
}

# lock FD SUBJECT: waits for an exclusive lock, interruptibly.
lock() {
  flock -n "$1" && return
  say "waiting for another launcher to finish with $2"
  until flock -n "$1"; do
    sleep 0.3
  done
}

# free_port: prints a loopback port that nothing listens on.
#
# It is below the range that the kernel uses for outgoing connections. A port
# cannot be reserved, so callers have to retry with another one if it has been
# taken in the meantime.
free_port() {
  local port
  while :; do
    port=$((20000 + SRANDOM % 12000))
    (: </dev/tcp/127.0.0.1/"$port") 2>/dev/null || break
  done
  printf '%s' "$port"
}

# until_deadline SECONDS COMMAND…: repeats the command until it succeeds. Fails if
# it does not succeed within that time.
until_deadline() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.1
  done
}

# until_started COMMAND…: the same for processes that start. The time is generous:
# what ends is noticed at once, and several clusters may be starting on a slow
# machine.
until_started() { until_deadline 180 "$@"; }

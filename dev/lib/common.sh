# shellcheck shell=bash
# What every part of the launcher uses: messages, quoting, interruptible commands.

# Progress goes to stderr: stdout belongs to the command of `run` and to `env`.
say() { printf '%s\n' "dev: $*" >&2; }

die() {
  say "error: $*"
  exit 1
}

# show_log FILE…: the end of each log, for somebody who has to find out what went wrong.
show_log() {
  local log
  for log; do
    [[ -s $log ]] || continue
    say "the end of $log:"
    tail -n 25 -- "$log" | sed 's/^/    /' >&2
  done
}

# quote WORD…: as words that any POSIX shell reads back unchanged.
quote() {
  local word words=() IFS=' '
  for word; do
    words+=("'${word//\'/\'\\\'\'}'")
  done
  printf '%s' "${words[*]}"
}

# list WORD…: with colons between them, like PATH.
list() {
  local IFS=:
  printf '%s' "$*"
}

# begin COMMAND…: in the background, with the terminal's input; $! is the process.
#
# bash runs no trap while it waits for a foreground command, so a `kill` of the
# launcher would be heard only when a long build is over. Hence what may take
# long is begun, then waited for. The mark lets the cleanup find the command and
# everything below it; without the reset of the signals a background command
# would ignore Ctrl-C.
begin() {
  env --default-signal=INT,QUIT "$MARK=helper@$$" "$@" <&0 9>&- &
}

# attend COMMAND…: begins and waits.
attend() {
  begin "$@"
  wait $!
}

# attend_into LOG COMMAND…: the same with its output in a file.
attend_into() {
  local log=$1
  shift
  begin "$@" >"$log" 2>&1
  wait $!
}

# lock FD WHAT: waits for an exclusive lock, interruptibly.
lock() {
  flock -n "$1" && return
  say "another run is busy with $2: waiting for it"
  until flock -n "$1"; do
    sleep 0.3
  done
}

# free_port: a loopback port on which nothing answers.
#
# Below the range the kernel takes for outgoing connections. Nobody can reserve
# a port: whoever uses one of these tries again with others if it was taken
# meanwhile.
free_port() {
  local port
  while :; do
    port=$((20000 + SRANDOM % 12000))
    (: </dev/tcp/127.0.0.1/"$port") 2>/dev/null || break
  done
  printf '%s' "$port"
}

# until_deadline SECONDS COMMAND…: repeats the command until it succeeds.
# Fails when it has not within that time.
until_deadline() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.1
  done
}

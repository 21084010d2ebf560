# shellcheck shell=bash
# What the set-up scripts share. Sourced, never run.
#
# Every script prints its result (one path) on standard output and everything
# that is meant for a person on standard error, so that make can take the
# result as it is.

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
  say "error: $*"
  exit 1
}

# usage prints the comment at the top of the script that runs; called for --help.
usage() { awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"; }

# Where everything that is built or downloaded once is kept.
cache_root() {
  realpath --canonicalize-missing -- "${DETECTIONS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/detections}"
}

# lock NAME makes a second run of the same step wait for the first one. The
# lock goes with the process, however that ends.
lock() {
  mkdir -p "$(cache_root)"
  exec 9>"$(cache_root)/$1.lock"
  if ! flock --nonblock 9; then
    say "waiting for another run of this step to end"
    flock 9
  fi
}

# machine prints the name npm and Go's world give this kind of processor.
machine() {
  case "$(uname -m)" in
    x86_64) echo x64 ;;
    aarch64 | arm64) echo arm64 ;;
    *) die "this program is built for x86-64 and arm64 processors, and this is $(uname -m)" ;;
  esac
}

sha256() { sha256sum "$1" | cut -d ' ' -f 1; }

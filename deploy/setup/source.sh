# shellcheck shell=bash
# shellcheck disable=SC2154 # work, log and version are the sourcing script's
# How libraries that are built from source get their source. Sourced after
# lib.sh, by scripts that have set work (a folder of their own), log and version.

suite=trixie # the Debian suite that has the versions that are built

# from_url URL FILE gets a file.
from_url() {
  command -v curl >/dev/null || return 1
  curl --fail --silent --location --connect-timeout 4 --max-time 300 --output "$2" "$1" || {
    say "$1 does not answer"
    return 1
  }
}

# The Debian mirror that this machine's apt uses for its own release.
debian_mirror() {
  local id codename
  [[ -z ${DEBIAN_MIRROR:-} ]] || { echo "$DEBIAN_MIRROR" && return; }
  # shellcheck disable=SC1091
  { read -r id && read -r codename; } < <(. /etc/os-release && printf '%s\n' "${ID:-}" "${VERSION_CODENAME:-}")
  [[ $id == debian ]] || return 0
  # shellcheck disable=SC2016 # $(…) here is apt's own notation
  apt-get indextargets --format '$(CREATED_BY) $(RELEASE) $(COMPONENT) $(REPO_URI)' |
    awk -v r="$codename" '$1 == "Packages" && $2 == r && $3 == "main" { print $4; exit }'
}

# from_debian PACKAGE FILE gets the release tarball out of Debian's source
# package, with lists and a cache of its own: apt's state here is left alone.
from_debian() {
  local apt=$work/apt mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  command -v apt-get >/dev/null || return 1
  mirror=$(debian_mirror)
  if [[ -z $mirror ]]; then
    say "apt on this machine has no Debian mirror; DEBIAN_MIRROR=URL would name one"
    return 1
  fi
  say "taking it from Debian's source package instead"
  mkdir -p "$apt"/{lists/partial,cache/archives/partial,got}
  echo "deb-src $([[ -f $keyring ]] && echo "[signed-by=$keyring]") $mirror $suite main" >"$apt/sources.list"
  local own=(
    -o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt/cache"
    -o APT::Sandbox::User="$(id -un)" -o APT::Update::Error-Mode=any -o Acquire::http::Timeout=20 -qq
  )
  if ! (apt-get "${own[@]}" update && cd "$apt/got" &&
    apt-get "${own[@]}" source --download-only --tar-only "$1") >>"$log" 2>&1; then
    tail -n 5 "$log" >&2
    return 1
  fi
  mv "$apt/got/$1"_*.orig.tar.xz "$2"
}

# get_source NAME URL TARBALL SUMS unpacks the source into $work/source: from the
# tarball if one is given, else from its project, else from Debian. It must have
# one of the sums.
get_source() {
  local name=$1 file=$work/source.tar.xz origin=$3 var=${1^^}
  if [[ -n $origin ]]; then
    [[ -f $origin ]] || die "${var}_TARBALL is $origin, and there is no such file"
    cp "$origin" "$file"
  else
    origin="its project"
    say "getting $name $version's source"
    if ! from_url "$2" "$file"; then
      origin="Debian ($suite)"
      from_debian "$name" "$file" ||
        die "the source of $name could not be got. Download ${2##*/} by hand and say ${var}_TARBALL=PATH"
    fi
  fi
  [[ " $4 " == *" $(sha256 "$file") "* ]] ||
    die "the tarball from $origin is not one this script accepts: its sha256 is $(sha256 "$file").
  If it is a newer release that you trust, add its sum at the top of deploy/setup/$name.sh
  or say ${var}_SHA256=SUM; otherwise get ${2##*/} elsewhere and say ${var}_TARBALL=PATH"
  mkdir "$work/source"
  tar --extract --xz --file "$file" --directory "$work/source" --strip-components 1
}

# logged COMMAND... runs it with its output in the log, and shows the log's end
# if it fails.
logged() {
  "$@" >>"$log" 2>&1 || {
    tail -n 30 "$log" >&2
    die "the build failed in ${1##*/}; all of its output is in $log"
  }
}

# heartbeat PID PATTERN tells every half minute that the build goes on, while PID
# does. A compiled file is a line of the log that matches.
heartbeat() {
  local next=$((SECONDS + 30))
  while sleep 1 && kill -0 "$1" 2>/dev/null; do
    ((SECONDS >= next)) || continue
    say "still building, $SECONDS s, $(grep -cE "$2" "$log" || true) files compiled"
    next=$((SECONDS + 30))
  done
}

#!/usr/bin/env bash
# usage: deploy/image/rootfs.sh PROGRAM LIBRARY FOLDER
#
# Fills a folder with everything that is in the image: in root/ the program, ONNX Runtime's
# library, the shared libraries that they need, certificates, and notices, and in owned/ what
# belongs to the user that runs it. Nothing else: there is no shell, and no package manager.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/setup/lib.sh
. "$here/../setup/lib.sh"

[[ $# -eq 3 && $1 != --help ]] || { usage && exit; }
program=$1 library=$2 root=$3/root

rm -rf "$3"
mkdir -p "$root"/{etc/ssl/certs,tmp,usr/share/doc/detections} "$3/owned/data"
install -m 755 "$program" "$root/detections"
install -m 644 "$library" "$root/libonnxruntime.so"

chmod 1777 "$root/tmp"

# What the dynamic linker would load, where it looks for it.
ldd "$program" "$library" | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\/.*ld-linux/ { print $1 }' | sort -u |
  while read -r so; do
    mkdir -p "$root${so%/*}"
    install -m 755 "$so" "$root$so"
  done
# Names are looked up by Go itself, and users by nobody.
install -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
printf 'detections:x:10001:10001::/data:/\n' >"$root/etc/passwd"
printf 'detections:x:10001:\n' >"$root/etc/group"
install -m 644 "$here/../../NOTICE.md" "$root/usr/share/doc/detections/NOTICE.md"
# The same content gives the same image.
find "$3" -exec touch --no-dereference --date='@0' {} +
du -sm "$root" | awk '{ print "rootfs.sh: " $1 " MB" }' >&2

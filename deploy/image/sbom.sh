#!/usr/bin/env bash
# usage: deploy/image/sbom.sh PROGRAM
#
# Prints the program's bill of materials as CycloneDX 1.6: the Go modules that are linked
# into it, by what the program itself says, and the native libraries by the versions that
# the set-up scripts pin.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/setup/lib.sh
. "$here/../setup/lib.sh"

[[ $# -eq 1 && $1 != --help ]] || { usage && exit; }
program=$1
setup=$here/../setup
modules=$(go version -m "$program")
# pinned FILE: the version that a set-up script asks for.
pinned() { sed -n 's/^version=//p' "$setup/$1"; }

jq --raw-input --slurp --arg go "$(awk 'NR == 1 { print $2 }' <<<"$modules")" \
  --arg program "$("$program" version 2>/dev/null | awk 'NR == 1 { print $2 }')" \
  --arg ffmpeg "$(pinned ffmpeg.sh)" --arg dav1d "$(pinned dav1d.sh)" --arg ort "$(pinned onnxruntime.sh)" '
  [split("\n")[] | split("\t") | select(.[1] == "dep" or .[1] == "=>") | {name: .[2], version: .[3]}] as $modules
  | {
      bomFormat: "CycloneDX", specVersion: "1.6", version: 1,
      metadata: {component: {type: "application", name: "detections", version: $program, "bom-ref": "detections"}},
      components: (
        [$modules[] | {type: "library", name, version, purl: "pkg:golang/\(.name)@\(.version)", "bom-ref": "pkg:golang/\(.name)@\(.version)"}]
        + [{type: "library", name: "std", version: ($go | ltrimstr("go")), purl: "pkg:golang/std@\($go | ltrimstr("go"))"},
           {type: "library", name: "FFmpeg", version: $ffmpeg, cpe: "cpe:2.3:a:ffmpeg:ffmpeg:\($ffmpeg):*:*:*:*:*:*:*"},
           {type: "library", name: "dav1d", version: $dav1d, cpe: "cpe:2.3:a:videolan:dav1d:\($dav1d):*:*:*:*:*:*:*"},
           {type: "library", name: "onnxruntime", version: $ort, purl: "pkg:npm/onnxruntime-node@\($ort)"}])
    }' <<<"$modules"

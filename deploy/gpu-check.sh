#!/usr/bin/env bash
# usage: ORT_LIBRARY=PATH deploy/gpu-check.sh [--providers LIST] [--build] [MODEL.onnx...]
#
# Runs every check that needs an NVIDIA GPU, on a machine that has one, and says
# which passed.
#
#   ORT_LIBRARY=PATH   libonnxruntime.so of a build for CUDA and TensorRT, with its
#                      libonnxruntime_providers_*.so beside it; the libraries of CUDA,
#                      cuDNN 9 and TensorRT 10 that it needs must be found by the loader
#   --providers LIST   what is checked (default tensorrt,cuda)
#   --build            only build what the checks run, into bin/gpu: a machine with a GPU
#                      but without compilers can then run them in a copy of this folder
#   MODEL.onnx         measured too, beside the embedded model
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/setup/lib.sh
. "$here/setup/lib.sh"
providers=tensorrt,cuda
build=
while [[ $# -gt 0 ]]; do
  case "$1" in
    -h | --help) usage && exit ;;
    --providers) providers=${2:?--providers needs a list} && shift ;;
    --build) build=only ;;
    -*) die "unknown argument $1; see --help" ;;
    *) break ;;
  esac
  shift
done
models=(infer/loader/nanodet-g-416.onnx)
for model in "$@"; do models+=("$(realpath "$model")"); done
[[ -z ${ORT_LIBRARY:-} ]] || ORT_LIBRARY=$(realpath --canonicalize-missing "$ORT_LIBRARY")
cd "$here/.."
built=bin/gpu

# What the checks run, and the media that they show.
build() {
  local package media env=$here/setup/env.sh
  "$env" go build -trimpath -ldflags '-s -w' -o "$built/" ./cmd/detections ./cmd/detections-bench
  for package in infer/ort cmd/detections; do
    "$env" go test -c -tags gpu -trimpath -ldflags '-s -w' -o "$built/${package##*/}.test" "./$package"
  done
  media=$("$here/setup/testmedia.sh")
  mkdir -p "$built/media"
  cp "$media"/{frame.jpg,people.mp4,people-long.mp4} "$built/media/"
}
if [[ $build == only || ! -x $built/detections ]]; then
  mkdir -p "$built"
  say "building what the checks run, into $built"
  build
fi
[[ $build != only ]] || exit 0
newer=$(find cmd infer hub media -name '*.go' -newer "$built/detections" -print -quit)
[[ -z $newer ]] || say "note: $newer is newer than $built, which is what is checked; --build makes it anew"

[[ -f ${ORT_LIBRARY:-} ]] || die "set ORT_LIBRARY to the libonnxruntime.so of a build for a GPU"
IFS=, read -ra list <<<"$providers"
for provider in shared "${list[@]}"; do
  [[ -f ${ORT_LIBRARY%/*}/libonnxruntime_providers_$provider.so ]] ||
    die "there is no libonnxruntime_providers_$provider.so beside $ORT_LIBRARY"
done
command -v nvidia-smi >/dev/null || die "nvidia-smi is not there: no driver?"
nvidia-smi --query-gpu=index,name,driver_version,memory.total --format=csv || die "the driver does not answer"

data=$(mktemp -d)
trap 'rm -rf "$data"' EXIT
# The devices' numbers are those of the driver's own list.
export ORT_LIBRARY CUDA_DEVICE_ORDER=PCI_BUS_ID
export DETECTIONS_TEST_PROGRAM=$PWD/$built/detections DETECTIONS_TEST_MEDIA=$PWD/$built/media
program=("$built/detections")
failed=()
check() {
  local what=$1
  shift
  say "$what"
  if "$@"; then echo "passed: $what, $SECONDS s since the start"; else failed+=("$what"); fi
}
# Each provider must be ready; the command itself is content with one.
ready() {
  local out
  out=$("$@") || return
  echo "$out"
  ! grep -v 'ready' <<<"$out"
}
# tests of a package, by their names. They run in its folder, as go test does it.
tests() {
  (cd "$1" && "$OLDPWD/$built/${1##*/}.test" -test.v -test.timeout 90m -test.run "$2")
}

precision=fp32
[[ $providers != *tensorrt* ]] || precision=fp16
settings=(--ort-library "$ORT_LIBRARY" --data "$data" --providers "$providers" --precision "$precision")
check 'every provider can be built and loaded' ready "${program[@]}" model build "${settings[@]}"
begun=$SECONDS
check 'what was built is taken from the cache' ready "${program[@]}" model build "${settings[@]}"
((SECONDS - begun <= 60)) || failed+=("the second build took $((SECONDS - begun)) s")
declare -A named=([cuda]=CUDA [tensorrt]=TensorRT)
for provider in "${list[@]}"; do
  check "$provider: engines agree with the processors" tests infer/ort "GPU${named[$provider]}"
  check "$provider: the hub serves, changes the model under load, and ends at once" tests cmd/detections "GPU${named[$provider]}"
done
for model in "${models[@]}"; do
  check "speed of $model" env DETECTIONS_ORT_LIBRARY="$ORT_LIBRARY" DETECTIONS_DATA="$data" DETECTIONS_PROVIDERS="$providers" \
    DETECTIONS_PRECISION="$precision" "${program[@]}" model inspect "$model"
done
if [[ ${#failed[@]} -gt 0 ]]; then
  printf 'FAILED: %s\n' "${failed[@]}"
  exit 1
fi
echo "all GPU checks passed for $providers"

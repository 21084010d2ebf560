#!/usr/bin/env bash
# usage: ORT_LIBRARY=PATH deploy/gpu-check.sh [MODEL.onnx]
#
# Runs every check that needs an NVIDIA GPU, on a machine that has one, and says
# which passed. Nothing of it has been run on hardware yet.
#
#   ORT_LIBRARY=PATH  libonnxruntime.so of a build for CUDA and TensorRT, with its
#                     libonnxruntime_providers_*.so beside it; the libraries of
#                     CUDA 12, cuDNN 9 and TensorRT 10 must be found by the loader
#   MODEL.onnx        measured too, beside the embedded model
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/setup/lib.sh
. "$here/setup/lib.sh"
case "${1:-}" in
  -h | --help) usage && exit ;;
esac
[[ -f ${ORT_LIBRARY:-} ]] || die "set ORT_LIBRARY to the libonnxruntime.so of a build for CUDA and TensorRT"
for provider in shared cuda tensorrt; do
  [[ -f $(dirname "$ORT_LIBRARY")/libonnxruntime_providers_$provider.so ]] ||
    die "there is no libonnxruntime_providers_$provider.so beside $ORT_LIBRARY"
done
command -v nvidia-smi >/dev/null || die "nvidia-smi is not there: no driver?"
nvidia-smi --query-gpu=index,name,driver_version,memory.total --format=csv || die "the driver does not answer"
# The devices' numbers are those of the driver's own list.
export CUDA_DEVICE_ORDER=PCI_BUS_ID

data=$(mktemp -d)
trap 'rm -rf "$data"' EXIT
env=$here/setup/env.sh
failed=()
check() {
  local what=$1
  shift
  echo "== $what"
  if "$@"; then echo "passed: $what"; else failed+=("$what"); fi
}
# Each provider must be ready; the command itself is content with one.
ready() {
  local out
  out=$("$@") || return
  echo "$out"
  ! grep -v 'ready' <<<"$out"
}

cd "$here/.." || exit
make build || exit
bin=(bin/detections)
check 'every provider can be built and loaded' ready "${bin[@]}" model build --ort-library "$ORT_LIBRARY" --data "$data" --precision fp16
begun=$SECONDS
check 'what was built is taken from the cache' ready "${bin[@]}" model build --ort-library "$ORT_LIBRARY" --data "$data" --precision fp16
((SECONDS - begun <= 60)) || failed+=("the second build took $((SECONDS - begun)) s")
check 'engines agree with the processors, and are not built twice' \
  "$env" --test go test -tags gpu -count=1 -v -timeout 90m -run GPU ./infer/ort
check 'the hub is never dark, a signal does not wait for a builder, the model is changed under load' \
  "$env" --test go test -tags gpu -count=1 -v -timeout 90m -run GPU ./cmd/detections
for model in infer/loader/nanodet-g-416.onnx "$@"; do
  check "speed of $model" env DETECTIONS_ORT_LIBRARY="$ORT_LIBRARY" DETECTIONS_DATA="$data" DETECTIONS_PRECISION=fp16 "${bin[@]}" model inspect "$model"
done
if [[ ${#failed[@]} -gt 0 ]]; then
  printf 'FAILED: %s\n' "${failed[@]}"
  exit 1
fi
echo 'all GPU checks passed'

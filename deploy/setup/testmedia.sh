#!/usr/bin/env bash
# usage: deploy/setup/testmedia.sh [--help]
#
# Makes the media files that the tests read, out of the sample clip, and prints
# their folder. It uses the ffmpeg command of the machine's distribution, so
# that what our own build reads was written by another one.
#
#   DETECTIONS_CACHE=FOLDER  the cache (default ~/.cache/detections)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/setup/lib.sh
. "$here/lib.sh"

case "${1:-}" in
  '') ;;
  -h | --help) usage && exit ;;
  *) die "unknown argument $1; see --help" ;;
esac

clip=$here/../../media/mediatest/testdata/people.mp4 # 768x576, 10 fps, 10 s, H.264 with B frames
[[ -f $clip ]] || die "the sample clip is not there: $clip"
command -v ffmpeg >/dev/null || die "ffmpeg is needed to make test media; deploy/setup/packages.sh test installs it"

# make_media writes every file into the folder it is started in.
make_media() {
  ff -i "$clip" -c copy -movflags +faststart people.mp4
  ff -i people.mp4 -c copy people-moov-end.mp4
  ff -i people.mp4 -c copy -movflags frag_keyframe+empty_moov+default_base_moof -frag_duration 500000 people-frag.mp4
  ff -i people.mp4 -c copy -f mpegts people.ts
  ff -i people.mp4 -c copy -cluster_time_limit 500 -cluster_size_limit 65536 people.mkv
  ff -i people.mp4 -c:v libvpx -deadline realtime -cpu-used 8 -b:v 1M -g 30 people-vp8.webm
  ff -i people.mp4 -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 1M -g 30 people-vp9.webm
  ff -i people.mp4 -c:v libx264 -preset veryfast -bf 3 -b_strategy 0 -g 30 -movflags +faststart people-bframes.mp4
  ff -i people.mp4 -f lavfi -i sine=frequency=440:duration=10 -c:v copy -c:a aac -b:a 64k -movflags +faststart people-audio.mp4
  ff -f lavfi -i sine=frequency=440:duration=2 -c:a aac -b:a 64k -movflags +faststart audio-only.mp4
  ff -stream_loop 5 -i people.mp4 -c copy -movflags +faststart people-long.mp4
  ff -i people.mp4 -vf 'select=eq(n\,40)' -frames:v 1 -q:v 2 -update 1 frame.jpg
  ff -i people.mp4 -vf 'select=eq(n\,40)' -frames:v 1 -update 1 frame.png

  # Broken ones: 4 KiB of every 64 in the middle third overwritten; cut off.
  for file in people.mp4 people.ts; do
    damage "$file" "people-corrupt.${file##*.}"
  done
  head -c $(($(stat -c %s people.mp4) * 2 / 5)) people.mp4 >people-truncated.mp4

  # No media at all.
  echo 'Not a video, just a line of text.' >text.txt
  : >empty.bin
  python3 -c 'import zipfile
with zipfile.ZipFile("archive.zip", "w", zipfile.ZIP_DEFLATED) as z:
    z.writestr(zipfile.ZipInfo("text.txt"), "Not a video, just a line of text.\n")'
}

# ff runs ffmpeg so that the same input makes the same bytes.
ff() { ffmpeg -nostdin -v error -y -threads 1 "${@:1:$#-1}" -threads 1 -fflags +bitexact -flags +bitexact -map_metadata -1 "${!#}"; }

damage() {
  local size at
  size=$(stat -c %s "$1")
  cp "$1" "$2"
  for ((at = size / 3; at < size * 2 / 3; at += 65536)); do
    printf 'DAMAGED\n%.0s' {1..512} | dd of="$2" bs=4096 oflag=seek_bytes seek="$at" conv=notrunc iflag=fullblock status=none
  done
}

key=$({
  declare -f make_media ff damage
  sha256 "$clip"
  ffmpeg -version | head -n 1
} | sha256sum | cut -c 1-12)
folder=$(cache_root)/testmedia-$key
if [[ ! -d $folder ]]; then
  lock testmedia
  if [[ ! -d $folder ]]; then # another run may have made it meanwhile
    work=$(mktemp -d "$(cache_root)/testmedia-make.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    say "making the test media with $(ffmpeg -version | cut -d ' ' -f 1-3 | head -n 1)"
    mkdir "$work/media"
    clip=$(realpath "$clip")
    (cd "$work/media" && make_media)
    mv "$work/media" "$folder"
    say "the test media, $(find "$folder" -type f | wc -l) files, are in $folder, $SECONDS s"
  fi
fi
echo "$folder"

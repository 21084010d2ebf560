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

  python3 -c 'import random; random.seed(7); open("archive.bin", "wb").write(random.randbytes(4096))'
  containers
  codecs
  properties
  restarts
  counters
  pictures
  absurd
  camera
  live
  seeds
  bombs

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

# containers: the same H.264 stream, and streams made above, in the other containers.
containers() {
  local annexb=(-c copy -bsf:v h264_mp4toannexb)
  ff -i people.mp4 "${annexb[@]}" people.avi
  ff -i people.mp4 -c copy people.flv
  ff -i people.mp4 "${annexb[@]}" -muxrate 10M -f vob people.mpg
  ff -i people.mp4 "${annexb[@]}" people.h264
  ff -i people.mp4 -c copy people.mov
  ff -i people-vp8.webm -c copy people-vp8.ivf
  ff -i people-vp9.webm -c copy people-vp9.ivf
}

# codecs: the first two seconds, in every other codec.
codecs() {
  local two=(-t 2 -i people.mp4) q=(-q:v 3)
  ff "${two[@]}" -c:v libx265 -preset ultrafast -x265-params log-level=error:pools=none:frame-threads=1:bframes=3 -tag:v hvc1 hevc.mp4
  ff -i hevc.mp4 -c copy hevc.ts
  ff -i hevc.mp4 -c copy hevc.mkv
  ff -i hevc.mp4 -c copy -bsf:v hevc_mp4toannexb hevc.h265
  ff "${two[@]}" -c:v libaom-av1 -usage realtime -cpu-used 8 -b:v 1M av1.mp4
  ff -i av1.mp4 -c copy av1.ivf
  ff -i av1.mp4 -c copy av1.obu
  ff -i av1.mp4 -c copy av1.webm
  ff "${two[@]}" -r 25 -c:v mpeg2video -bf 2 "${q[@]}" -f vob mpeg2.mpg
  ff -i mpeg2.mpg -c copy mpeg2.ts
  ff "${two[@]}" -r 25 -c:v mpeg1video -bf 2 "${q[@]}" -f mpeg mpeg1.mpg
  ff "${two[@]}" -c:v mpeg4 -bf 2 "${q[@]}" mpeg4.avi
  ff "${two[@]}" -c:v mpeg4 -bf 2 "${q[@]}" mpeg4.mp4
  ff "${two[@]}" -c:v msmpeg4 "${q[@]}" msmpeg4v3.avi
  ff "${two[@]}" -c:v mjpeg -pix_fmt yuvj420p "${q[@]}" mjpeg.avi
  ff -i mjpeg.avi -c copy -f mjpeg mjpeg.mjpeg
  ff -i people.mp4 -t 0.5 -vf scale=160:120 -c:v cinepak cinepak.avi
  ff -i people.mp4 -t 1 -c:v ffv1 unknown-codec.mkv # not offered
}

# properties: what phones, cameras and recorders do to a video. All of two seconds.
properties() {
  local x264=(-c:v libx264 -preset ultrafast -crf 18) two=(-t 2 -i people.mp4) degrees
  ff "${two[@]}" "${x264[@]}" plain.mp4
  ff "${two[@]}" -vf 'select=not(mod(n\,4))' -vsync passthrough reference-%d.png # 1 to 5: pictures 0, 4, ... of plain.mp4
  for degrees in 90 180 270; do # the players turn it clockwise by so much
    ffmpeg -nostdin -v error -y -i plain.mp4 -c copy -fflags +bitexact -metadata:s:v "rotate=$((360 - degrees))" "rotated-$degrees.mp4"
  done
  ff "${two[@]}" -vf scale=427:319 -c:v libvpx-vp9 -deadline realtime -cpu-used 8 odd.webm
  ff "${two[@]}" -vf scale=427:319,format=yuv444p "${x264[@]}" odd-444.mp4
  ff "${two[@]}" -vf scale=384:576,setsar=2/1 "${x264[@]}" anamorphic.mp4
  ff "${two[@]}" -vf 'select=not(eq(n\,3)+eq(n\,4)+eq(n\,9)+between(n\,12\,16))' -vsync vfr "${x264[@]}" vfr.mp4
  ff -ss 1.05 -t 2 -i people.mp4 -c copy edit-list.mp4
  ff -t 2 -i people.mp4 -c copy -output_ts_offset 95440.5 wraps.ts # 2^33/90000 s is 95443.7
  ff "${two[@]}" -pix_fmt yuv420p10le "${x264[@]}" 10bit.mp4
  ff "${two[@]}" -pix_fmt yuv420p10le -c:v libx265 -preset ultrafast -x265-params log-level=error:pools=none:frame-threads=1 10bit-hevc.mp4
  ff "${two[@]}" -pix_fmt yuv444p "${x264[@]}" 444.mp4
  ff "${two[@]}" -vf scale=out_color_matrix=bt601:out_range=full -color_range pc -colorspace smpte170m "${x264[@]}" full-601.mp4
  ff "${two[@]}" -vf format=rgb24,scale=out_color_matrix=bt709:out_range=limited,format=yuv420p -color_range tv -colorspace bt709 "${x264[@]}" limited-709.mp4
  ff "${two[@]}" -vf format=rgb24,scale=out_color_matrix=bt709:out_range=full,format=yuv420p -color_range pc -colorspace bt709 "${x264[@]}" full-709.mp4
  ff "${two[@]}" -vf tinterlace=interleave_top -flags +ildct+ilme "${x264[@]}" interlaced.ts
  printf '1\n00:00:00,000 --> 00:00:02,000\nwords\n' >words.srt
  ff -f lavfi -i testsrc=size=160x120:rate=10:duration=2 "${two[@]}" -i words.srt -f lavfi -i sine=duration=2 \
    -map 0 -map 1 -map 2 -map 3 -c:v libx264 -preset ultrafast -c:s srt -c:a aac -disposition:v:0 0 -disposition:v:1 default many-streams.mkv
  ff "${two[@]}" -f lavfi -i testsrc=size=160x120:rate=10:duration=2 -map 1 -map 0 -c:v libx264 -preset ultrafast -f mpegts two-videos.ts
  ff "${two[@]}" -c copy -bsf:v 'setts=pts=if(between(N\,8\,11)\,PREV_OUTPTS\,PTS):dts=if(between(N\,8\,11)\,PREV_OUTDTS\,DTS)' repeats.mkv
  ff -i people.mp4 -t 2 -c copy -f mpegts two-seconds.ts
  cat two-seconds.ts hevc.ts >joined-other.ts
  cat two-seconds.ts two-seconds.ts >joined.ts
  local file
  for file in people.mp4 people.ts people.mkv people.avi people.flv people.mpg people.h264 people-vp8.ivf av1.obu mjpeg.mjpeg frame.jpg frame.png; do
    { cat "$file" && head -c 3000 archive.bin; } >"garbage-$file"
  done
}

# restarts: ten seconds small, in which decoding can begin again in some places only.
restarts() {
  local small=(-i people.mp4 -vf scale=256:192) x264=(-c:v libx264 -preset veryfast -g 20 -keyint_min 20 -bf 3)
  local open=(-x264-params open-gop=1:bframes=3:b-adapt=0:ref=4)
  ff "${small[@]}" "${x264[@]}" "${open[@]}" open-gop.mp4
  ff "${small[@]}" "${x264[@]}" "${open[@]}" open-gop.ts
  ff "${small[@]}" "${x264[@]}" -x264-params intra-refresh=1 refresh.ts
  ff "${small[@]}" -c:v libx265 -preset ultrafast -x265-params log-level=error:pools=none:frame-threads=1:bframes=3:keyint=20:min-keyint=20:open-gop=1 -tag:v hvc1 open-gop-hevc.mp4
  ff -i open-gop-hevc.mp4 -c copy open-gop-hevc.ts
  ff "${small[@]}" -c:v libvpx-vp9 -deadline good -cpu-used 5 -auto-alt-ref 1 -lag-in-frames 16 -g 20 -b:v 200k alt-ref.webm
  ff "${small[@]}" -t 4 -c:v libaom-av1 -usage realtime -cpu-used 8 -g 10 -b:v 200k keys.obu
  # Parameter sets at the beginning only.
  ff "${small[@]}" "${x264[@]}" sets.h264
  ff -i sets.h264 -c copy -bsf:v filter_units=pass_types=7-8 -frames:v 1 -f h264 sets.begin
  ff -i sets.h264 -c copy -bsf:v filter_units=remove_types=7-8 -f h264 sets.rest
  cat sets.begin sets.rest >sets-once.h264
  rm sets.h264 sets.begin sets.rest
}

# counters: the number of each picture is written into it, as eight cells of 32 by 16
# pixels, lowest bit first, white for one, and their opposites below them. As files, one
# of which begins late and has B frames, and for a browser to take as its camera.
counters() {
  local i cells=drawbox=x=0:y=0:w=256:h=32:color=black:t=fill
  for ((i = 0; i < 8; i++)); do
    cells+=",drawbox=x=$((32 * i)):y=0:w=32:h=16:color=white:t=fill:enable='gte(mod(n\,$((2 << i)))\,$((1 << i)))'"
    cells+=",drawbox=x=$((32 * i)):y=16:w=32:h=16:color=white:t=fill:enable='lt(mod(n\,$((2 << i)))\,$((1 << i)))'"
  done
  ff -i people.mp4 -vf "$cells" -c:v libx264 -preset veryfast -crf 20 -g 30 -movflags +faststart counter.mp4
  ff -t 2 -i counter.mp4 -c:v libx264 -preset veryfast -bf 3 -b_strategy 0 -output_ts_offset 5 counter-late.mkv
  ff -t 6 -i people.mp4 -vf "$cells" -pix_fmt yuv420p camera.y4m
}

# pictures: the other formats, the smallest and the largest, and orientation.
pictures() {
  ff -i frame.png -c:v libwebp -quality 95 frame.webp
  ff -i frame.png -c:v libwebp -lossless 1 frame-lossless.webp
  ff -i frame.png frame.bmp
  ff -i frame.png frame.gif
  ff -t 1 -i people.mp4 -vf scale=192:-2 animated.gif
  ff -t 1 -i people.mp4 -vf scale=192:-2 -c:v libwebp_anim animated.webp
  python3 - <<'END'
import struct, zlib

def png(name, side):
    chunk = lambda kind, b: struct.pack(">I", len(b)) + kind + b + struct.pack(">I", zlib.crc32(kind + b))
    rows = zlib.compress(bytes((1 + (side + 7) // 8) * side), 1)
    with open(name, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))

png("1x1.png", 1)
png("16384x16384.png", 16384)

# EXIF orientation 6: to be turned clockwise by 90 degrees; 2: mirrored.
jpeg = open("frame.jpg", "rb").read()
for n in 6, 2:
    tiff = b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 0x112, 3, 1, n, 0) + b"\0\0\0\0"
    app1 = b"Exif\0\0" + tiff
    open("orientation-%d.jpg" % n, "wb").write(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(app1) + 2) + app1 + jpeg[2:])
END
}

# absurd: what no camera writes, and a decoder must get over.
absurd() {
  local one=(-f lavfi -i testsrc=size=64x48:rate=10:duration=1) maps=() i
  ff -t 2 -i people.mp4 -vf scale=1:1 -c:v libvpx -deadline realtime 1x1.webm
  ff -t 2 -i people.mp4 -vf scale=1:1 -c:v mjpeg -pix_fmt yuvj420p 1x1.avi
  ff -t 2 -i people.mp4 -vf settb=1/1000000,setpts=N -vsync passthrough -enc_time_base 1:1000000 -video_track_timescale 1000000 \
    -c:v libx264 -preset ultrafast million-fps.mp4
  ff -framerate 1000000 -i reference-%d.png -c:v libx264 -preset ultrafast -pix_fmt yuv420p million-fps.h264
  ff -i plain.mp4 -c copy -bsf:v 'setts=pts=N*100000000:dts=N*100000000:time_base=1' -video_track_timescale 1 ages.mp4
  ff -i plain.mp4 -c copy -bsf:v 'setts=pts=N*100000000000:dts=N*100000000000' ages.mkv
  ff -t 2 -i people.mp4 -c copy -output_ts_offset 2147482 -f flv wraps.flv # 2^31 ms is 2147483.6 s
  ff -t 2 -i people.mp4 -c copy -output_ts_offset 95440.5 -bsf:v h264_mp4toannexb -muxrate 10M -f vob wraps.mpg
  ff "${one[@]}" -c:v libx264 -preset ultrafast -pix_fmt yuv420p tiny.mp4
  for ((i = 0; i < 200; i++)); do maps+=(-map 0); done
  ff -i tiny.mp4 "${maps[@]::18}" -c copy 9-videos.mp4
  ff -i tiny.mp4 "${maps[@]}" -c copy 200-videos.mp4
  ff -i tiny.mp4 "${maps[@]}" -c copy 200-videos.mkv
  ff -i tiny.mp4 "${maps[@]::80}" -c copy -f mpegts 40-videos.ts
  ff -i tiny.mp4 -c copy -frames:v 0 no-samples.mp4
  ff -i tiny.mp4 -c copy -frames:v 0 no-samples.mkv
  ff -i plain.mp4 -f lavfi -i sine=duration=2 -map 0 -map 1 -map 1 -c:v copy -c:a aac -frames:a:1 0 empty-audio.mp4
}
# camera: as phones and drones record: 1080p, 25 fps, 10 Mbit/s, a camera that moves,
# noise, sound; with B frames as their chips make them, a fixed pattern to which
# nothing refers. Then as x264 does by itself, without B frames, and HEVC.
camera() {
  local x264=(-c:v libx264 -preset fast -b:v 10M -g 50) three=(-t 3 -i camera.mp4 -an)
  local x265=(-c:v libx265 -preset ultrafast -x265-params log-level=error:pools=none:frame-threads=1:bframes=3 -b:v 6M -tag:v hvc1)
  ff -t 6 -i people.mp4 -f lavfi -i sine=duration=6 -vf "fps=25,scale=2304:1728,crop=1920:1080:192+150*sin(n/20):300+200*cos(n/33),noise=alls=8:allf=t" \
    "${x264[@]}" -bf 2 -b_strategy 0 -x264-params b-pyramid=none -c:a aac -movflags +faststart camera.mp4
  ff "${three[@]}" "${x264[@]}" camera-x264.mp4
  ff "${three[@]}" "${x264[@]}" -bf 0 camera-ippp.mp4
  ff "${three[@]}" "${x265[@]}" camera-hevc.mp4
}

# live: what a browser or a streaming program sends, 640x480 at 30 pictures a second.
live() {
  local vga=(-t 4 -i people.mp4 -vf "fps=30,scale=640:480,noise=alls=4:allf=t")
  ff "${vga[@]}" -c:v libvpx -deadline realtime -cpu-used 8 -b:v 1500k -g 60 live-vp8.ivf
  ff "${vga[@]}" -c:v libx264 -preset veryfast -tune zerolatency -profile:v baseline -b:v 1500k -g 60 live-baseline.h264
  ff "${vga[@]}" -c:v libx264 -preset veryfast -tune zerolatency -profile:v high -b:v 1500k -g 60 live-high.h264
}

# seeds: a second of every container and codec, as small as can be, to be mutated.
seeds() {
  local small=(-t 1 -i people.mp4 -vf "fps=5,scale=96:72") q=(-q:v 5) x264=(-c:v libx264 -preset veryfast -crf 30 -g 3 -bf 1)
  ff "${small[@]}" "${x264[@]}" -movflags +faststart seed.mp4
  ff -i seed.mp4 -c copy seed-index-end.mov
  ff -i seed.mp4 -c copy -movflags frag_keyframe+empty_moov+default_base_moof seed-frag.mp4
  ff -i seed.mp4 -c copy seed.mkv
  ff -i seed.mp4 -c copy seed.flv
  ff -i seed.mp4 -c copy -f mpegts seed.ts
  ff -i seed.mp4 -c copy -bsf:v h264_mp4toannexb seed.avi
  ff -i seed.mp4 -c copy -bsf:v h264_mp4toannexb -f vob seed.mpg
  ff -i seed.mp4 -c copy -bsf:v h264_mp4toannexb seed.h264
  ff "${small[@]}" -c:v libvpx -deadline realtime -cpu-used 8 seed-vp8.webm
  ff -i seed-vp8.webm -c copy seed-vp8.ivf
  ff "${small[@]}" -c:v libvpx-vp9 -deadline realtime -cpu-used 8 seed-vp9.webm
  ff -i seed-vp9.webm -c copy seed-vp9.ivf
  ff "${small[@]}" -c:v libx265 -preset ultrafast -x265-params log-level=error:pools=none:frame-threads=1 -tag:v hvc1 seed-hevc.mp4
  ff -i seed-hevc.mp4 -c copy seed-hevc.mkv
  ff -i seed-hevc.mp4 -c copy -f mpegts seed-hevc.ts
  ff -i seed-hevc.mp4 -c copy -bsf:v hevc_mp4toannexb seed-hevc.h265
  ff "${small[@]}" -c:v libaom-av1 -usage realtime -cpu-used 8 seed-av1.mp4
  ff -i seed-av1.mp4 -c copy seed-av1.webm
  ff -i seed-av1.mp4 -c copy seed-av1.ivf
  ff -i seed-av1.mp4 -c copy seed-av1.obu
  ff "${small[@]}" -r 25 -c:v mpeg1video "${q[@]}" -f mpeg seed-mpeg1.mpg
  ff "${small[@]}" -r 25 -c:v mpeg2video "${q[@]}" -f mpegts seed-mpeg2.ts
  ff "${small[@]}" -c:v mpeg4 "${q[@]}" seed-mpeg4.avi
  ff "${small[@]}" -c:v mpeg4 "${q[@]}" seed-mpeg4.mp4
  ff "${small[@]}" -c:v msmpeg4 "${q[@]}" seed-msmpeg4.avi
  ff "${small[@]}" -c:v cinepak seed-cinepak.avi
  ff "${small[@]}" -c:v mjpeg -pix_fmt yuvj420p "${q[@]}" seed-mjpeg.avi
  ff -i seed-mjpeg.avi -c copy -f mjpeg seed.mjpeg
  local one=(-i people.mp4 -frames:v 1 -vf scale=96:72) kind
  for kind in jpg png bmp gif; do
    ff "${one[@]}" -update 1 "seed.$kind"
  done
  ff "${one[@]}" -c:v libwebp seed.webp
  ff "${one[@]}" -c:v libwebp -lossless 1 seed-lossless.webp
}

# bombs: small files that unfold to far more than is decoded.
bombs() {
  local x264=(-c:v libx264 -preset ultrafast -pix_fmt yuv420p -rc-lookahead 0 -bf 0)
  ff -f lavfi -i color=black:size=16000x8000:rate=1 -frames:v 1 "${x264[@]}" bomb-16000x8000.mp4
  ff -f lavfi -i color=black:size=8192x8192:rate=1 -frames:v 1 "${x264[@]}" bomb-8192x8192.mp4
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
  declare -f make_media containers codecs properties restarts counters pictures absurd camera live seeds bombs ff damage
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

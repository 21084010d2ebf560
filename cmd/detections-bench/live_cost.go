//go:build cgo

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pion/webrtc/v4"

	"detections/media"
	"detections/media/av"
	"detections/session/rtc/rtctest"
)

// liveSample picks so many frames a second; 0: all of them.
func liveSample(fps float64) media.Sample { return media.Sample{FPS: fps} }

// none picks the first frame only.
const none = 1_000_000

// liveCPU: what a session costs that infers nothing, against decoding alone.
func (b *bench) liveCPU(ctx context.Context) (err error) {
	main := b.hub
	// A hub that lets more sessions in than its engines could serve: nothing is inferred.
	if b.hub, err = startHub(ctx, b.options, "--min-rate", "0.001"); err != nil {
		b.hub = main
		return err
	}
	defer func() { err = errors.Join(err, b.hub.stop()); b.hub = main }()
	rows := [][]string{{"processor time, ms per frame", "sessions", "hub", "decoder process", "sum", "of a core at 30 fps", "FFmpeg, paced", "ratio", "target", "", "FFmpeg, plain RTP", "ratio", "FFmpeg, at once", "ratio", "our library, at once"}}
	for _, name := range liveClips {
		more, err := b.liveCost(ctx, name)
		if err != nil {
			return err
		}
		rows = append(rows, more...)
	}
	b.out.table(fmt.Sprintf("LIVE, PROCESSOR: 640×480 at 30 fps, decoded and not inferred; %d rounds of FFmpeg, one session and eight, medians", costRounds), rows)
	b.out.line("  FFmpeg, paced, which the target is about: ffmpeg -threads 1 -re -i CLIP -f null - of the distribution, the same H.264 or VP8 from a file, demuxed and decoded at\n"+
		"  640×480 (yuv420p, not scaled, not copied), each frame when it is time, as in a live stream; what it uses in %d s after its start. Ours comes at the same pace over\n"+
		"  loopback, out of ICE, SRTP and RTP, is kept on disk, and decoded at 640×480 in a process of its own (not scaled: nothing is picked).\n"+
		"  Plain RTP: FFmpeg receives the stream over loopback, unencrypted. At once: as fast as it can, what starting costs taken off.", int(costTime.Seconds()))
	return nil
}

// Sessions and FFmpeg take turns, because the speed of a machine changes within minutes.
const (
	costRounds  = 3
	costTime    = 8 * time.Second
	costSettled = 2 * time.Second // until then a process may still be starting
)

// liveCost are the rows of a clip.
func (b *bench) liveCost(ctx context.Context, name string) (rows [][]string, err error) {
	alone, err := b.decodeAlone(ctx, name)
	if err != nil {
		return nil, err
	}
	type cost struct{ hub, worker, sum, ratio sample }
	sessions := []int{1, 8}
	costs := make([]cost, len(sessions))
	var paced sample
	for range costRounds {
		base, err := b.paced(ctx, name)
		if err != nil {
			return nil, err
		}
		paced.add(base)
		for i, n := range sessions {
			hub, workers, frames, err := b.liveCPUOf(ctx, name, n)
			if err != nil {
				return nil, err
			}
			c := &costs[i]
			c.hub.add(perFrame(hub, frames))
			c.worker.add(perFrame(workers, frames))
			c.sum.add(perFrame(hub+workers, frames))
			c.ratio.add(perFrame(hub+workers, frames) / base)
		}
	}
	for i, n := range sessions {
		c, per := &costs[i], costs[i].sum.median()
		rows = append(rows, []string{
			name, fmt.Sprint(n), fmt.Sprintf("%.2f", c.hub.median()), fmt.Sprintf("%.2f", c.worker.median()), fmt.Sprintf("%.2f", per),
			fmt.Sprintf("%.1f %%", 3*per), paced.show("%.2f"), c.ratio.show("%.2f"), fmt.Sprintf("≤ %.1f", cpuRatio), verdict(c.ratio.median() <= cpuRatio),
			fmt.Sprintf("%.2f", alone.rtp), fmt.Sprintf("%.2f", per/alone.rtp), fmt.Sprintf("%.2f", alone.command), fmt.Sprintf("%.2f", per/alone.command), fmt.Sprintf("%.2f", alone.library),
		})
	}
	return rows, nil
}

// paced is what FFmpeg uses that decodes a clip from a file at its pace, in ms per frame.
func (b *bench) paced(ctx context.Context, name string) (float64, error) {
	clip, err := rtctest.Open(filepath.Join(b.media, name))
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "detections-bench-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	path := filepath.Join(dir, "clip"+filepath.Ext(name))
	enough := 2 + int((costSettled+costTime)/(livePeriod*time.Duration(len(clip.Frames))))
	if err := os.WriteFile(path, repeat(clip, enough), 0o600); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, "ffmpeg", "-nostdin", "-v", "error", "-threads", "1", "-re", "-i", path, "-f", "null", "-") //nolint:gosec // G204: our own file
	if err := cmd.Start(); err != nil {
		cancel()
		return 0, err
	}
	defer func() { cancel(); _ = cmd.Wait() }() // it was killed
	time.Sleep(costSettled)
	before, err := readStat(cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	time.Sleep(costTime)
	after, err := readStat(cmd.Process.Pid)
	return ms(after.cpu-before.cpu) / (float64(time.Since(begun)) / float64(livePeriod)), err
}

// liveCPUOf is what n sessions use within some seconds, and how many frames were sent.
func (b *bench) liveCPUOf(ctx context.Context, name string, n int) (hub, workers time.Duration, frames int, err error) {
	var pubs []*rtctest.Publisher
	defer func() {
		for _, p := range pubs {
			err = errors.Join(err, p.Delete())
			p.Close()
		}
		err = errors.Join(err, b.hub.settled(ctx))
	}()
	for range n {
		pub, err := b.publish(ctx, name, fmt.Sprintf("?every=%d", none), webrtc.SettingEngine{})
		if err != nil {
			return 0, 0, 0, err
		}
		pubs = append(pubs, pub)
		if _, err := await(ctx, pub); err != nil {
			return 0, 0, 0, err
		}
	}
	sent := func() (n int) {
		for _, p := range pubs {
			n += int(p.Sent())
		}
		return n
	}
	time.Sleep(costSettled)
	before, err := b.hub.use()
	if err != nil {
		return 0, 0, 0, err
	}
	begun := sent()
	time.Sleep(costTime)
	after, err := b.hub.use()
	if err != nil {
		return 0, 0, 0, err
	}
	u := after.since(before)
	return u.hub, u.workers, sent() - begun, nil
}

// aloneCost is what decoding a clip costs without a hub, in ms per frame.
type aloneCost struct{ rtp, command, library float64 }

// decodeAlone decodes a clip several times over, by FFmpeg's command and by our library.
func (b *bench) decodeAlone(ctx context.Context, name string) (d aloneCost, err error) {
	clip, err := rtctest.Open(filepath.Join(b.media, name))
	if err != nil {
		return d, err
	}
	dir, err := os.MkdirTemp("", "detections-bench-")
	if err != nil {
		return d, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	// perFrame is the difference of a long and a short run: starting costs the same.
	perFrame := func(times int) (float64, error) {
		var long, short sample
		for range b.reps {
			for n, s := range map[int]*sample{times: &long, 1: &short} {
				used, err := ffmpeg(ctx, filepath.Join(dir, fmt.Sprint(n)+filepath.Ext(name)), repeat(clip, n))
				if err != nil {
					return 0, err
				}
				s.addMS(used)
			}
		}
		return (long.median() - short.median()) / float64((times-1)*len(clip.Frames)), nil
	}
	if d.command, err = perFrame(10); err != nil {
		return d, err
	}
	if d.rtp, err = receiving(ctx, dir, clip); err != nil {
		return d, err
	}
	f, err := os.Open(filepath.Join(dir, "10"+filepath.Ext(name))) //nolint:gosec // G304: our own file
	if err != nil {
		return d, err
	}
	defer f.Close() //nolint:errcheck // only read
	cost, err := av.Measure(f, media.Job{Views: []media.View{{Width: 416, Height: 416}}, Sample: media.Sample{Every: none}, Live: true})
	d.library = ms(cost.PerFrame())
	return d, err
}

// ffmpeg is the processor time of decoding a file.
func ffmpeg(ctx context.Context, path string, contents []byte) (time.Duration, error) {
	if err := os.WriteFile(path, contents, 0o600); err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, "ffmpeg", "-nostdin", "-v", "error", "-threads", "1", "-i", path, "-f", "null", "-") //nolint:gosec // G204: our own file
	if text, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(text))
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

// repeat is a clip many times, as a file of its own kind.
func repeat(c *rtctest.Clip, times int) (b []byte) {
	if c.MimeType == webrtc.MimeTypeVP8 {
		b = append(b, "DKIF\x00\x00\x20\x00VP80"...)
		b = binary.LittleEndian.AppendUint32(b, 640|480<<16)
		b = append(b, 30, 0, 0, 0, 1, 0, 0, 0)
		b = append(b, make([]byte, 8)...)
	}
	n := uint64(0)
	for range times {
		for _, f := range c.Frames {
			if c.MimeType == webrtc.MimeTypeVP8 {
				b = binary.LittleEndian.AppendUint32(b, uint32(len(f.Data)))
				b = binary.LittleEndian.AppendUint64(b, n)
			}
			b = append(b, f.Data...)
			n++
		}
	}
	return b
}

// liveLoss: lines that lose packets, and key frames that are lost altogether.
func (b *bench) liveLoss(ctx context.Context) error {
	rows := [][]string{{"loss, both ways", "packets lost", "of", "frames sent", "decoded", "counted as lost", "key frames asked for", "lost key frames", "picture back after, ms", "target", ""}}
	for _, percent := range []int{0, 3, 10} {
		row, err := b.lossy(ctx, percent)
		if err != nil {
			return err
		}
		rows = append(rows, row)
	}
	b.out.table("LIVE, LOSS: VP8, 640×480 at 30 fps; at first only the line's own losses, then every 2 s a key frame no packet of which comes", rows)
	b.out.line("  picture back: from when the lost key frame was sent to when the next frame that counts was; what it refers to had come. A missing packet is waited for up to\n" +
		"  200 ms (--rtc-jitter), then a key frame is asked for.")
	return nil
}

func (b *bench) lossy(ctx context.Context, percent int) ([]string, error) {
	line, err := rtctest.NewLossy(float64(percent)/100, uint64(percent))
	if err != nil {
		return nil, err
	}
	defer line.Close() //nolint:errcheck // it may be closed
	var doomed atomic.Uint32
	doomed.Store(1)
	line.Lose = func(p []byte) bool {
		return len(p) > 12 && p[0]>>6 == 2 && (p[1] < 192 || p[1] > 223) && binary.BigEndian.Uint32(p[4:]) == doomed.Load()
	}
	var e webrtc.SettingEngine
	line.Use(&e)
	pub, err := b.publish(ctx, "live-vp8.ivf", "", e)
	if err != nil {
		return nil, err
	}
	last, err := b.until(ctx, pub, lossFrames)
	if err != nil {
		return nil, err
	}
	lost, of := line.Lost()
	text, err := b.hub.get(ctx, "/v1/sessions/"+pub.Session)
	if err != nil {
		return nil, err
	}
	var st struct {
		Accounting struct {
			Decoded   int
			Undecoded map[string]int
		}
	}
	if err := json.Unmarshal(text, &st); err != nil {
		return nil, err
	}
	sent, asked := pub.Sent(), pub.PLIs()
	var back sample
	for range b.reps {
		target, err := b.until(ctx, pub, last+30)
		if err != nil {
			return nil, err
		}
		// The next frame is a key frame, because one is asked for, and none of it comes.
		n := int(pub.Sent()) + 2
		doomed.Store(pub.TimeStamp(n))
		pub.KeyAt(n)
		r, err := b.after(ctx, pub, n)
		if err != nil {
			return nil, err
		}
		back.addMS(pub.SentAt(r.RTP).Sub(pub.SentAt(pub.TimeStamp(n))))
		last = max(target, pub.Frame(r.RTP))
	}
	row := []string{
		fmt.Sprintf("%d %%", percent), fmt.Sprint(lost), fmt.Sprint(of), fmt.Sprint(sent), fmt.Sprint(st.Accounting.Decoded), fmt.Sprint(st.Accounting.Undecoded["lost"]),
		fmt.Sprint(asked), fmt.Sprint(len(back)), back.show("%.0f"), fmt.Sprintf("≤ %d", recovery.Milliseconds()), verdict(back.quantile(1) <= ms(recovery)),
	}
	return row, b.finish(ctx, pub)
}

// until reads results up to that of a frame.
func (b *bench) until(ctx context.Context, pub *rtctest.Publisher, frame int) (int, error) {
	for {
		r, err := await(ctx, pub)
		if n := pub.Frame(r.RTP); err != nil || n >= frame {
			return n, err
		}
	}
}

// after reads results up to the first behind a frame.
func (b *bench) after(ctx context.Context, pub *rtctest.Publisher, frame int) (result, error) {
	for {
		r, err := await(ctx, pub)
		if err != nil || pub.Frame(r.RTP) > frame {
			return r, err
		}
	}
}

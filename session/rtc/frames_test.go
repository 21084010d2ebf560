package rtc

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
)

// packets are n frames of VP8, every tenth a key frame, of three packets each. Frame i
// is full of bytes i, but for the bit that says what it is.
func packets(n int, first uint16) (all []*rtp.Packet) {
	for i := range n {
		body := bytes.Repeat([]byte{byte(i)}, 250)
		body[0] = 1
		if i%10 == 0 {
			body[0] = 0
		}
		parts := (&codecs.VP8Payloader{}).Payload(100, body)
		for k, b := range parts {
			all = append(all, &rtp.Packet{Header: rtp.Header{SequenceNumber: first, Timestamp: 0xfffff000 + uint32(i)*3000, Marker: k == len(parts)-1}, Payload: b})
			first++
		}
	}
	return all
}

// run gives packets to frames, a millisecond apart, and tells which came out, and what
// was lost before each.
func run(f *frames, all []*rtp.Packet) (out []string) {
	now := time.Unix(0, 0)
	for _, p := range all {
		now = now.Add(time.Millisecond)
		if p != nil {
			f.push(p, now)
		}
		for fr, ok := f.pop(now); ok; fr, ok = f.pop(now) {
			text := fmt.Sprint(fr.data[1])
			if fr.lost > 0 {
				text += fmt.Sprintf("(%d lost)", fr.lost)
			}
			out = append(out, text)
		}
	}
	return out
}

func pause(ms int) []*rtp.Packet { return make([]*rtp.Packet, ms) }

func numbers(from, to int) (out []string) {
	for i := from; i <= to; i++ {
		out = append(out, fmt.Sprint(i))
	}
	return out
}

func TestFramesComeOutWholeAndInOrder(t *testing.T) {
	all := packets(25, 65500) // the numbers wrap
	per := len(all) / 25
	without := func(drop ...int) []*rtp.Packet {
		out := slices.Clone(all)
		for _, i := range drop {
			out[i] = nil
		}
		return out
	}
	late := func(i, by int) []*rtp.Packet {
		out := slices.Insert(without(i), i+by, all[i])
		return out
	}
	twice := slices.Concat(all[:40], all[20:])
	markless := slices.Clone(all)
	for i, p := range markless {
		c := *p
		c.Marker = false
		markless[i] = &c
	}
	for name, c := range map[string]struct {
		in   []*rtp.Packet
		want []string
	}{
		"as they were sent":      {all, numbers(0, 24)},
		"one late":               {late(per*4+1, 15), numbers(0, 24)},
		"one too late":           {append(late(per*4+1, 35), pause(100)...), append(numbers(0, 3), append([]string{"10(6 lost)"}, numbers(11, 24)...)...)},
		"twice":                  {twice, numbers(0, 24)},
		"no marker":              {markless, numbers(0, 23)},
		"a packet lost":          {append(without(per*4+1), pause(100)...), append(numbers(0, 3), append([]string{"10(6 lost)"}, numbers(11, 24)...)...)},
		"a whole frame lost":     {append(without(per*4, per*4+1, per*4+2), pause(100)...), append(numbers(0, 3), append([]string{"10(6 lost)"}, numbers(11, 24)...)...)},
		"the key frame lost":     {append(without(per*10), pause(100)...), append(numbers(0, 9), append([]string{"20(10 lost)"}, numbers(21, 24)...)...)},
		"the last packet lost":   {append(without(per*9+per-1), pause(100)...), append(numbers(0, 8), append([]string{"10(1 lost)"}, numbers(11, 24)...)...)},
		"begins in the middle":   {all[per*4+1:], append([]string{"10(6 lost)"}, numbers(11, 24)...)},
		"a jump of the sequence": {slices.Concat(packets(5, 0), packets(25, 30000)[per*10:]), append(numbers(0, 4), append([]string{"10(5 lost)"}, numbers(11, 24)...)...)},
	} {
		t.Run(name, func(t *testing.T) {
			if got := run(newFrames(&vp8{}, 20*time.Millisecond), c.in); !slices.Equal(got, c.want) {
				t.Errorf("%v\nwant %v", got, c.want)
			}
		})
	}
}

// later is packets whose time stamps are so much later from one of them on.
func later(all []*rtp.Packet, from int, ticks uint32) (out []*rtp.Packet) {
	for i, p := range all {
		c := *p
		if i >= from {
			c.Timestamp += ticks
		}
		out = append(out, &c)
	}
	return out
}

// Time that passes says how many frames were lost, but no more than packets were.
func TestASenderThatPausesHasNotLostMore(t *testing.T) {
	all := packets(25, 0)
	per := len(all) / 25
	all = later(all, per*10, 90000*3600)
	clear(all[per*9 : per*10])
	want := append(numbers(0, 8), append([]string{fmt.Sprintf("10(%d lost)", per)}, numbers(11, 24)...)...)
	if got := run(newFrames(&vp8{}, 20*time.Millisecond), append(all, pause(100)...)); !slices.Equal(got, want) {
		t.Errorf("%v\nwant %v", got, want)
	}
}

func TestAClockThatIsSetBackGoesOn(t *testing.T) {
	var r receiver
	at := time.Unix(0, 0)
	for _, c := range []struct {
		ts   uint32
		want int64
	}{
		{1 << 30, 0},
		{1<<30 + 9000, 9000},
		{1<<30 + 6000, 6000}, // a B-frame
		{1<<30 + 12000, 12000},
		{7, 12000 + 4500}, // 50 ms later
		{3007, 12000 + 4500 + 3000},
		{3007 + 90000*3600, 12000 + 4500 + 3000 + 90000*3600}, // a pause
	} {
		r.count(frame{ts: c.ts, first: at})
		if at = at.Add(50 * time.Millisecond); r.ticks != c.want {
			t.Errorf("%d: at %d, not %d", c.ts, r.ticks, c.want)
		}
	}
	r.follow(nil)
	before := r.ticks
	if r.count(frame{ts: 99, first: at}); r.ticks != before+4500 {
		t.Errorf("another track went on by %d", r.ticks-before)
	}
}

func TestAPacketThatHardlyComesIsFearedForBeforeItIsGivenUp(t *testing.T) {
	all := packets(5, 0)
	f := newFrames(&vp8{}, 200*time.Millisecond)
	lost := all[4]
	all[4] = nil
	run(f, append(all, pause(int(fear.Milliseconds())-1)...)) // 15 packets, the fifth of which is missing
	at := func(ms int) time.Time { return time.Unix(0, 0).Add(time.Duration(ms) * time.Millisecond) }
	const since = 6 // when the packet behind it came
	if since := since + int(fear.Milliseconds()); f.fearsLoss(at(since-1)) || !f.fearsLoss(at(since)) || f.needsKey() {
		t.Errorf("before %v: %v, after it: %v; needs a key frame: %v", fear, f.fearsLoss(at(since-1)), f.fearsLoss(at(since)), f.needsKey())
	}
	f.push(lost, at(150))
	f.pop(at(150))
	if f.fearsLoss(at(150)) {
		t.Error("it has come, and is feared for still")
	}
}

// Whatever comes in whatever order, no more than the ring is kept, and every frame that
// comes out is whole: those that were sent, in their order.
func TestFramesOfABadLineAreWhole(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var in []*rtp.Packet
		for i, p := range packets(100, uint16(rng.Uint32())) {
			switch rng.IntN(12) {
			case 0: // lost
			case 1:
				in = append(in, p, p)
			case 2:
				in = slices.Insert(in, max(0, len(in)-rng.IntN(6)), p)
			default:
				in = append(in, p)
			}
			if i%50 == 0 {
				in = append(in, pause(rng.IntN(40))...)
			}
		}
		f := newFrames(&vp8{}, 20*time.Millisecond)
		last := -1
		now := time.Unix(0, 0)
		for _, p := range append(in, pause(100)...) {
			now = now.Add(time.Millisecond)
			if p != nil {
				f.push(p, now)
			}
			for fr, ok := f.pop(now); ok; fr, ok = f.pop(now) {
				i := int(fr.data[1])
				if i <= last || len(fr.data) != 250 || !bytes.Equal(fr.data[1:], bytes.Repeat([]byte{byte(i)}, 249)) || fr.lost < int64(i-last-1) && last >= 0 {
					t.Fatalf("seed %d: frame %d of %d bytes after %d, %d lost", seed, i, len(fr.data), last, fr.lost)
				}
				last = i
			}
			if f.stored > ringSize || !f.due().IsZero() && now.Sub(f.due()) > f.wait {
				t.Fatalf("seed %d: %d packets wait since %v", seed, f.stored, f.due())
			}
		}
		if last < 50 {
			t.Errorf("seed %d: nothing after frame %d", seed, last)
		}
	}
}

func FuzzPayloads(f *testing.F) {
	for i, p := range packets(12, 0) {
		f.Add(byte(i), p.Payload)
	}
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		c := []codec{&vp8{}, &vp9{}, &av1{}, &h264{}}[kind%4]
		fr := newFrames(c, 0)
		for i := range 4 { // the payload cut in four places
			part := b[min(len(b), i*len(b)/4):]
			fr.push(&rtp.Packet{Header: rtp.Header{SequenceNumber: uint16(i), Timestamp: uint32(i / 2), Marker: i%2 == 1}, Payload: part}, time.Unix(int64(i), 0))
			for out, ok := fr.pop(time.Unix(int64(i), 0)); ok; out, ok = fr.pop(time.Unix(int64(i), 0)) {
				if len(out.data) == 0 {
					t.Fatal("an empty frame")
				}
			}
		}
	})
}

const someOffer = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\na=fingerprint:sha-256 AA\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdabcdabcdabcdabcdabcd\r\n" +
	"m=video 9 UDP/TLS/RTP/SAVPF 96 97 102\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sendonly\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=rtpmap:102 H264/90000\r\n" +
	"a=fmtp:102 packetization-mode=1;profile-level-id=42e01f;sprop-parameter-sets=Z0LAHtkDxWhAAAADAEAAAAwDxYuS,aMuMsg==\r\na=rid:h send\r\na=simulcast:send h\r\n" +
	"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=sendrecv\r\na=rtpmap:111 opus/48000/2\r\n"

func TestAnOfferIsReducedToWhatIsTaken(t *testing.T) {
	o, err := parseOffer(someOffer)
	if err != nil {
		t.Fatal(err)
	}
	if len(o.video) != 2 || len(o.audio) != 1 || bytes.Contains([]byte(o.text), []byte("simulcast")) || !bytes.Contains([]byte(o.text), []byte("a=inactive")) {
		t.Errorf("%+v\n%s", o.video, o.text)
	}
	numbered, err := parseOffer(strings.Replace(someOffer, "a=mid:0\r\n", "a=mid:0\r\na=ssrc:1 cname:a\r\n", 1))
	if err != nil || len(numbered.video) != 3 || numbered.video[2].PayloadType != 97 {
		t.Errorf("%v: %+v", err, numbered)
	}
	if sets := newCodec(o.video[1]).(*h264).sets; !bytes.HasPrefix(sets, []byte{0, 0, 0, 1, 0x67}) || !bytes.Contains(sets, []byte{0, 0, 0, 1, 0x68}) {
		t.Errorf("parameter sets %x", sets)
	}
}

func FuzzOffer(f *testing.F) {
	f.Add(someOffer)
	f.Fuzz(func(t *testing.T, text string) {
		o, err := parseOffer(text)
		if err != nil {
			return
		}
		if again, err := parseOffer(o.text); err != nil || len(again.video) != len(o.video) {
			t.Errorf("what was taken is not taken again: %v\n%s", err, o.text)
		}
	})
}

func FuzzFragment(f *testing.F) {
	f.Add("a=ice-ufrag:abcd\r\na=ice-pwd:efgh\r\nm=video 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 UDP 2130706431 127.0.0.1 9 typ host\r\na=end-of-candidates\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		if fr, err := parseFragment(text); err == nil && len(fr.candidates) > maxCandidates {
			t.Errorf("%d candidates", len(fr.candidates))
		}
	})
}

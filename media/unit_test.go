package media

import (
	"math"
	"testing"
	"time"
)

var someUnit = Unit{
	Codec: "vp9", PTS: -40 * time.Millisecond, Key: true, Rotation: 270, Lost: 7,
	Stamp: Stamp{RTP: math.MaxUint32, HasRTP: true, Client: 1.25, HasClient: true, Seq: -3, HasSeq: true}, Data: []byte("data"),
}

func TestUnitsComeBackAsTheyWere(t *testing.T) {
	b, err := AppendUnit([]byte("before"), &someUnit)
	if err != nil {
		t.Fatal(err)
	}
	u, size, err := ParseUnit(b[len("before"):])
	u.Data = someUnit.Data
	if err != nil || size != 4 || string(b[len(b)-4:]) != "data" || len(b) != len("before")+UnitHeader+4 ||
		u.Codec != someUnit.Codec || u.PTS != someUnit.PTS || !u.Key || u.Rotation != 270 || u.Lost != 7 || u.Stamp != someUnit.Stamp {
		t.Errorf("%+v, %d bytes, %v", u, size, err)
	}
	for _, bad := range []Unit{{Codec: "mpeg"}, {Codec: "vp8", Data: make([]byte, MaxUnit+1)}, {Codec: "vp8", Lost: -1}} {
		if _, err := AppendUnit(nil, &bad); err == nil {
			t.Errorf("taken: %.20q", bad.Codec)
		}
	}
}

func FuzzParseUnit(f *testing.F) {
	b, _ := AppendUnit(nil, &someUnit)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		u, size, err := ParseUnit(b)
		if err != nil {
			return
		}
		again, err := AppendUnit(nil, &u)
		if err != nil || size > MaxUnit {
			t.Fatalf("%+v of %d bytes: %v", u, size, err)
		}
		if v, _, err := ParseUnit(again); err != nil || v.Stamp != u.Stamp || v.PTS != u.PTS {
			t.Errorf("%+v became %+v: %v", u, v, err)
		}
	})
}

// What an earlier version wrote beside its results is read still.
func TestCheckpointsOfTheFormBefore(t *testing.T) {
	c := Checkpoint{Index: 4, Stats: DecodeStats{Decoded: 5, Picked: 5}, Key: 1, Packet: 5, Sent: 5, Pictures: 5}
	w := coder{b: []byte{formerForm}, former: true}
	c.code(&w)
	var got Checkpoint
	if err := got.UnmarshalBinary(w.b); err != nil || got != c {
		t.Errorf("%+v: %v", got, err)
	}
}

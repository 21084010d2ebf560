package media

import (
	"reflect"
	"testing"
	"time"
)

// filled is a checkpoint whose fields all differ from those of the next n.
func filled(t testing.TB, n int64) (c Checkpoint) {
	t.Helper()
	var fill func(v reflect.Value)
	fill = func(v reflect.Value) {
		n++
		switch v.Kind() {
		case reflect.Struct:
			for _, field := range v.Fields() {
				fill(field)
			}
		case reflect.Int64:
			v.SetInt(n * (1 - n%2*2) << n)
		case reflect.Uint64, reflect.Uint32:
			v.SetUint(uint64(n))
		case reflect.Float64:
			v.SetFloat(30000. / 1001 * float64(n))
		case reflect.Bool:
			v.SetBool(n%2 > 0)
		default:
			t.Fatalf("a field of kind %v", v.Kind())
		}
	}
	fill(reflect.ValueOf(&c).Elem())
	return c
}

func TestACheckpointComesBackAsItWas(t *testing.T) {
	for _, c := range []Checkpoint{{}, filled(t, 0), filled(t, 1)} {
		b, err := c.AppendBinary([]byte("before"))
		if err != nil || string(b[:6]) != "before" {
			t.Fatalf("%q, err %v", b, err)
		}
		var got Checkpoint
		if err := got.UnmarshalBinary(b[6:]); err != nil || got != c {
			t.Errorf("%+v came back as %+v, err %v", c, got, err)
		}
		for n := range b[6:] {
			if got.UnmarshalBinary(b[6:6+n]) == nil {
				t.Errorf("the first %d bytes of %d are taken", n, len(b)-6)
			}
		}
		if got.UnmarshalBinary(append(b[6:], 0)) == nil {
			t.Error("a byte too many is taken")
		}
		if b[6]++; got.UnmarshalBinary(b[6:]) == nil {
			t.Error("another form is taken")
		}
	}
}

func TestACheckpointIsSmall(t *testing.T) {
	hour := Checkpoint{
		Index: 108_000, PTS: time.Hour, KeyPTS: time.Hour - 1900*time.Millisecond,
		Stats: DecodeStats{Decoded: 108_001, Picked: 108_001}, Key: 107_943, Delay: 2,
		Packet: 108_003, Sent: 108_005, Sum: 0xdeadbeef, Pictures: 108_001,
	}
	b := make([]byte, 0, 64)
	if b, _ = hour.AppendBinary(b); len(b) > 45 {
		t.Errorf("%d bytes", len(b))
	}
	if n := testing.AllocsPerRun(10, func() { _, _ = hour.AppendBinary(b[:0]) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzCheckpoint(f *testing.F) {
	b, _ := filled(f, 0).AppendBinary(nil)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var c, again Checkpoint
		if c.UnmarshalBinary(b) != nil {
			return
		}
		b, err := c.AppendBinary(nil)
		if err != nil || again.UnmarshalBinary(b) != nil || c.Rate == c.Rate && again != c {
			t.Errorf("%+v came back as %+v, err %v", c, again, err)
		}
	})
}

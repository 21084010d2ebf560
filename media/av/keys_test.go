package av

import (
	"testing"
	"time"
)

func TestKeysKnowWhereDecodingCanBegin(t *testing.T) {
	var k keys
	for i := range 30 {
		k.sent(i%10 == 0, time.Duration(i))
	}
	for pts, want := range map[time.Duration]time.Duration{0: 0, 9: 0, 10: 10, 19: 10, 29: 20, -5: -5} {
		if got := k.before(pts); got != want {
			t.Errorf("before %d: %d, want %d", pts, got, want)
		}
	}
}

func TestKeysCountWhatGaveNoPicture(t *testing.T) {
	var k keys
	for i := range 20 { // the first key packet is number 6; 8 and 9 are lost
		k.sent(i == 5, 0)
		if k.undecoded(false) != 0 {
			t.Error("counted before it is known")
		}
	}
	k.received(3) // one of the early ones did decode
	k.received(6)
	if got := k.undecoded(false); got != 4 {
		t.Errorf("%d before the key frame, want 4", got)
	}
	for n := int64(7); n <= 20; n++ {
		if n != 8 && n != 9 {
			k.received(n)
		}
	}
	if got := k.missing(); got != 2 {
		t.Errorf("%d missing, want 2", got)
	}
	var none keys
	none.sent(false, 0)
	if none.undecoded(true) != 1 || none.missing() != 0 {
		t.Error("a stream without a key frame")
	}
}

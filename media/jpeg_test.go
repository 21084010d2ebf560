package media_test

import (
	"bytes"
	"testing"

	"detections/media"
)

// FuzzJPEGWalk walks through anything: to an answer, and always forward.
func FuzzJPEGWalk(f *testing.F) {
	f.Add([]byte("\xff\xd8\xff\xe0\x00\x04ab\xff\xda\x00\x02data\xff\xd9\xff\xd8\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var w media.JPEGWalk
		size := int64(0)
		for steps := 0; ; steps++ {
			many, need, err := w.Walk(bytes.NewReader(b), size)
			if err != nil || many || need == 0 || size == int64(len(b)) {
				return
			}
			if need <= size || steps > len(b) {
				t.Fatalf("%d bytes are needed of %d, after %d steps", need, size, steps)
			}
			size = min(need, int64(len(b)))
		}
	})
}

// TestJPEGWalkReadsEveryByteOnce: bytes that are skipped one by one once took a read of
// four kilobytes each, which made minutes of a file of fill bytes.
func TestJPEGWalkReadsEveryByteOnce(t *testing.T) {
	for _, fill := range []string{"\xff", "\xff\xd8", "\xff\xd0"} {
		b := append([]byte("\xff\xd8\xff\xff"), bytes.Repeat([]byte(fill), 1<<20)...)
		r := &countingReader{r: bytes.NewReader(b)}
		var w media.JPEGWalk
		if many, _, err := w.Walk(r, int64(len(b))); many || err != nil || r.n > 2*len(b) {
			t.Errorf("%x: %d bytes were read of %d, %v %v", fill, r.n, len(b), many, err)
		}
	}
}

type countingReader struct {
	r *bytes.Reader
	n int
}

func (c *countingReader) ReadAt(p []byte, at int64) (int, error) {
	n, err := c.r.ReadAt(p, at)
	c.n += n
	return n, err
}

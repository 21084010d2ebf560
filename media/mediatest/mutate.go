package mediatest

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// Mutator makes damaged and hostile inputs out of small files of every container and
// codec that is offered.
type Mutator struct {
	names []string
	seeds [][]byte
}

// NewMutator reads the files.
func NewMutator(t testing.TB) *Mutator {
	t.Helper()
	paths, err := filepath.Glob(Path(t, "seed*"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no seeds: %v", err)
	}
	m := &Mutator{}
	for _, p := range paths { // in order of their names
		b, err := os.ReadFile(p) //nolint:gosec // G304: a test file
		if err != nil {
			t.Fatal(err)
		}
		m.names, m.seeds = append(m.names, filepath.Base(p)), append(m.seeds, b)
	}
	return m
}

// Input makes the n-th input; the same for the same n. Every seed has its turn.
func (m *Mutator) Input(n int) (seed string, input []byte) {
	rng := rand.New(rand.NewPCG(7, uint64(n)))
	i := n % len(m.seeds)
	b := bytes.Clone(m.seeds[i])
	for range 1 + rng.IntN(4) {
		b = m.mutate(rng, b)
	}
	return m.names[i], b
}

// maxInput bounds what duplicating makes of an input.
const maxInput = 1 << 20

// extremes are numbers at which parsers go wrong.
var extremes = []uint32{0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffffff0, 0xffffffff}

func (m *Mutator) mutate(rng *rand.Rand, b []byte) []byte {
	if len(b) < 8 {
		return append(b, m.seeds[rng.IntN(len(m.seeds))]...)
	}
	at := func() int { // half of them in the header
		if rng.IntN(2) == 0 {
			return rng.IntN(min(len(b)-4, 512))
		}
		return rng.IntN(len(b) - 4)
	}
	piece := func() (from, to int) {
		from = at()
		return from, from + 1 + rng.IntN(min(len(b)-from, 2048))
	}
	switch rng.IntN(9) {
	case 0: // bits
		for range 1 + rng.IntN(16) {
			b[at()] ^= 1 << rng.IntN(8)
		}
	case 1: // bytes
		for range 1 + rng.IntN(16) {
			b[at()] = byte(rng.Uint32())
		}
	case 2: // a number
		binary.BigEndian.PutUint32(b[at():], extremes[rng.IntN(len(extremes))])
	case 3:
		binary.LittleEndian.PutUint32(b[at():], extremes[rng.IntN(len(extremes))])
	case 4: // the end is missing
		b = b[:at()+1]
	case 5: // a piece is missing
		from, to := piece()
		b = append(b[:from:from], b[to:]...)
	case 6: // a piece comes twice, or somewhere else
		from, to := piece()
		dst := at()
		if len(b) < maxInput {
			b = bytes.Join([][]byte{b[:dst], b[from:to], b[dst:]}, nil)
		}
	case 7: // another file goes on
		other := m.seeds[rng.IntN(len(m.seeds))]
		b = append(b[:at():len(b)], other[rng.IntN(len(other)):]...)
	case 8: // noise
		from, to := piece()
		for i := from; i < to; i++ {
			b[i] = byte(rng.Uint32())
		}
	}
	return b
}

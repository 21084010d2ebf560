package infer

// Normalizer turns packed 8-bit pixels into the planes of a network's input.
// It is immutable and may be shared.
type Normalizer struct {
	tables [3][256]float32 // value of a byte, by channel
}

// NewNormalizer computes the tables of an input.
func NewNormalizer(in Input) *Normalizer {
	n := new(Normalizer)
	for c := range n.tables {
		for v := range n.tables[c] {
			n.tables[c][v] = (float32(v) - in.Mean[c]) / in.Std[c]
		}
	}
	return n
}

// Convert writes the pixels of one view (packed, three bytes each, in the channel
// order of the input) into dst: three planes of len(pix)/3 values.
//
// One pass, four pixels a turn; written so that the compiler needs one bounds check
// per four pixels: 416×416 takes about 0.2 ms on one core.
func (n *Normalizer) Convert(dst []float32, pix []byte) {
	size := len(pix) / 3
	a, b, c := dst[:size], dst[size:2*size], dst[2*size:3*size]
	ta, tb, tc := &n.tables[0], &n.tables[1], &n.tables[2]
	for len(pix) >= 12 && len(a) >= 4 && len(b) >= 4 && len(c) >= 4 {
		p := (*[12]byte)(pix)
		pa, pb, pc := (*[4]float32)(a), (*[4]float32)(b), (*[4]float32)(c)
		pa[0], pb[0], pc[0] = ta[p[0]], tb[p[1]], tc[p[2]]
		pa[1], pb[1], pc[1] = ta[p[3]], tb[p[4]], tc[p[5]]
		pa[2], pb[2], pc[2] = ta[p[6]], tb[p[7]], tc[p[8]]
		pa[3], pb[3], pc[3] = ta[p[9]], tb[p[10]], tc[p[11]]
		pix, a, b, c = pix[12:], a[4:], b[4:], c[4:]
	}
	for i := range a {
		a[i], b[i], c[i] = ta[pix[3*i]], tb[pix[3*i+1]], tc[pix[3*i+2]]
	}
}

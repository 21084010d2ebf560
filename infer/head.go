package infer

// Candidate is a box before NMS, in input pixels (corners).
type Candidate struct {
	X1, Y1, X2, Y2 float32
	Score          float32
	Class          int32
}

// Head reads a network's raw outputs.
type Head interface {
	// Decode appends the candidates of image i whose score is at least threshold.
	// It must not allocate once dst is large enough.
	Decode(e Engine, i int, threshold float32, dst []Candidate) []Candidate
}

package infer

// NewFIFO is a Batcher as most servers have one: a queue of frames in the order in
// which they came. It is the baseline of the simulation and exists only there.
func NewFIFO(c BatcherConfig) (*Batcher, error) { return newBatcher(c, &fifo{}) }

type fifo struct{ places list[Place] }

func (f *fifo) join(*Place)                  {}
func (f *fifo) leave(*Place)                 {}
func (f *fifo) push(p *Place)                { f.places.pushBack(&p.node) }
func (f *fifo) settle(*Place, float64, bool) {}
func (f *fifo) remove(p *Place)              { f.places.remove(&p.node) }
func (f *fifo) len() int                     { return f.places.len }

func (f *fifo) pop() *Place {
	p := f.places.head.of
	f.places.remove(&p.node)
	return p
}

package track

import (
	"math"

	"detections/infer"
)

// The noise that the filter assumes, in sizes of the object (the root of its area): of
// a box, of the velocity of something new (per second), and of what changes a velocity
// (per second²).
const (
	boxNoise     = 0.05
	newVelocity  = 2.0
	acceleration = 2.0
)

// motion is where an object is expected: for the middle of its box and for its width
// and height a Kalman filter each, with constant velocity.
type motion struct{ x, y, w, h filter }

// filter estimates a value and its velocity, with their covariance.
type filter struct{ value, velocity, vv, vw, ww float64 }

func newMotion(b infer.Box) motion {
	size := math.Sqrt(float64(b.W) * float64(b.H))
	r, v := boxNoise*size, newVelocity*size
	of := func(value float32) filter { return filter{value: float64(value), vv: r * r, ww: v * v} }
	return motion{of(b.X + b.W/2), of(b.Y + b.H/2), of(b.W), of(b.H)}
}

// numbers are all of it, for AppendState.
func (m *motion) numbers() (all [20]*float64) {
	for i, f := range []*filter{&m.x, &m.y, &m.w, &m.h} {
		copy(all[5*i:], []*float64{&f.value, &f.velocity, &f.vv, &f.vw, &f.ww})
	}
	return all
}

func (m *motion) size() float64 { return math.Sqrt(max(1, m.w.value) * max(1, m.h.value)) }

// predict goes on by dt seconds. An object out of sight keeps its size: what its box
// did while it vanished behind something says nothing.
func (m *motion) predict(dt float64, unseen bool) {
	if unseen {
		m.w.velocity, m.h.velocity = 0, 0
	}
	a := acceleration * m.size()
	for _, f := range []*filter{&m.x, &m.y, &m.w, &m.h} {
		f.predict(dt, a*a)
	}
}

// correct takes in where the object was seen.
func (m *motion) correct(b infer.Box) {
	r := boxNoise * m.size()
	m.x.correct(float64(b.X+b.W/2), r*r)
	m.y.correct(float64(b.Y+b.H/2), r*r)
	m.w.correct(float64(b.W), r*r)
	m.h.correct(float64(b.H), r*r)
}

func (m *motion) box() infer.Box {
	w, h := max(1, m.w.value), max(1, m.h.value)
	return infer.Box{X: float32(m.x.value - w/2), Y: float32(m.y.value - h/2), W: float32(w), H: float32(h)}
}

// predict is x ← Fx, P ← FPFᵀ + Q with F = [1 dt; 0 1] and the Q of white noise q in
// the acceleration.
func (f *filter) predict(dt, q float64) {
	f.value += dt * f.velocity
	f.vv += 2*dt*f.vw + dt*dt*f.ww + q*dt*dt*dt*dt/4
	f.vw += dt*f.ww + q*dt*dt*dt/2
	f.ww += q * dt * dt
}

// correct is the update with a measured value of variance r.
func (f *filter) correct(value, r float64) {
	s := f.vv + r
	k, l := f.vv/s, f.vw/s
	off := value - f.value
	f.value += k * off
	f.velocity += l * off
	f.ww -= l * f.vw
	f.vw -= k * f.vw
	f.vv -= k * f.vv
}

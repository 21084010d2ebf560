package media

import (
	"slices"
	"testing"
	"time"
)

func picks(rule Sample, pts ...time.Duration) (picked []int) {
	p := NewPicker(rule)
	for i, t := range pts {
		if p.Pick(t) {
			picked = append(picked, i)
		}
	}
	return picked
}

// times are n times of a stream of a frame rate, from a start, in 1/90000 s like a
// transport stream's.
func times(n int, fps float64, start time.Duration) (pts []time.Duration) {
	for i := range n {
		ticks := int64(float64(i) / fps * 90000)
		pts = append(pts, start+time.Duration(ticks*1_000_000_000/90000))
	}
	return pts
}

func TestPicker(t *testing.T) {
	for name, c := range map[string]struct {
		rule Sample
		pts  []time.Duration
		want []int
	}{
		"all":                        {Sample{}, times(4, 30, 0), []int{0, 1, 2, 3}},
		"every third":                {Sample{Every: 3}, times(7, 30, 0), []int{0, 3, 6}},
		"2 of 10 a second":           {Sample{FPS: 2}, times(12, 10, 1400*time.Millisecond), []int{0, 5, 10}},
		"as many as there are":       {Sample{FPS: 10}, times(5, 10, 0), []int{0, 1, 2, 3, 4}},
		"more than there are":        {Sample{FPS: 60}, times(3, 30, 0), []int{0, 1, 2}},
		"10 of 30000/1001":           {Sample{FPS: 10}, times(10, 30000./1001, 0), []int{0, 3, 6, 9}},
		"a gap":                      {Sample{FPS: 1}, []time.Duration{0, 5e9, 5.5e9, 6e9}, []int{0, 1, 3}},
		"times that go back":         {Sample{FPS: 1}, []time.Duration{5e9, 1e9, 6e9}, []int{0, 2}},
		"one in an hour, none twice": {Sample{FPS: 1. / 3600}, []time.Duration{0, 1e9, 3600e9, 3601e9}, []int{0, 2}},
	} {
		if got := picks(c.rule, c.pts...); !slices.Equal(got, c.want) {
			t.Errorf("%s: picked %v, want %v", name, got, c.want)
		}
	}
}

func TestPlaceAndBack(t *testing.T) {
	for _, c := range []struct {
		view       View
		w, h       int
		x, y, W, H int
	}{
		{View{Width: 416, Height: 416}, 768, 576, 0, 52, 416, 312},
		{View{Width: 416, Height: 416}, 576, 768, 52, 0, 312, 416},
		{View{Width: 416, Height: 416}, 1920, 1080, 0, 91, 416, 234},
		{View{Width: 416, Height: 416}, 100, 100, 0, 0, 416, 416},
		{View{Width: 416, Height: 416}, 60000, 1, 0, 207, 416, 1},
		{View{Width: 64, Height: 32, Fit: Stretch}, 768, 576, 0, 0, 64, 32},
		{View{Width: 416, Height: 416, Fit: Corner}, 768, 576, 0, 0, 416, 312},
	} {
		g := c.view.Place(c.w, c.h)
		if want := (Geometry{c.w, c.h, c.x, c.y, c.W, c.H}); g != want {
			t.Errorf("%d×%d: %+v, want %+v", c.w, c.h, g, want)
		}
		x, y := g.ToSource(float32(g.X)+float32(g.W)/2, float32(g.Y)+float32(g.H)/2)
		if x != float32(c.w)/2 || y != float32(c.h)/2 {
			t.Errorf("%d×%d: the middle is at %v, %v", c.w, c.h, x, y)
		}
		if x, y := g.ToSource(-5, 9999); x != 0 || y != float32(c.h) {
			t.Errorf("%d×%d: outside is at %v, %v", c.w, c.h, x, y)
		}
	}
}

func TestAFrameHasOneOwner(t *testing.T) {
	released := 0
	f := NewFrame(func() { released++ })
	panics := func(what string, do func()) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("%s does not panic", what)
			}
		}()
		do()
	}
	panics("releasing a frame of nobody", f.Release)
	f.Hold()
	panics("handing it out twice", f.Hold)
	f.Release()
	panics("releasing it twice", f.Release)
	f.Hold()
	f.Release()
	if released != 2 {
		t.Errorf("released %d times", released)
	}
}

func TestJobValidate(t *testing.T) {
	good := Job{Views: []View{{Width: 416, Height: 416}}}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Job){
		"no view":        func(j *Job) { j.Views = nil },
		"too many views": func(j *Job) { j.Views = make([]View, MaxViews+1) },
		"a huge view":    func(j *Job) { j.Views = []View{{Width: 5000, Height: 1}} },
		"a bad format":   func(j *Job) { j.Views = []View{{Width: 1, Height: 1, Format: 9}} },
		"two rules":      func(j *Job) { j.Sample = Sample{FPS: 1, Every: 1} },
		"negative fps":   func(j *Job) { j.FPS = -1 },
		"negative base":  func(j *Job) { j.Base = -1 },
		"half a picture": func(j *Job) { j.Picture, j.Resume = true, &Checkpoint{} },
	} {
		j := good
		change(&j)
		if j.Validate() == nil {
			t.Errorf("%s is valid", name)
		}
	}
}

func TestTheSameRuleAgainGoesOn(t *testing.T) {
	p := NewPicker(Sample{Every: 3})
	var picked []int
	for i := range 9 {
		if i == 4 {
			p.Change(Sample{Every: 3})
		}
		if i == 7 {
			p.Change(Sample{Every: 4})
		}
		if p.Pick(0) {
			picked = append(picked, i)
		}
	}
	if want := []int{0, 3, 6, 7}; !slices.Equal(picked, want) {
		t.Errorf("picked %v, want %v", picked, want)
	}
}

func TestAResumedPickerPicksTheSame(t *testing.T) {
	pts := times(100, 30000./1001, 1400*time.Millisecond)
	for _, rule := range []Sample{{}, {Every: 7}, {FPS: 2}, {FPS: 29}, {FPS: 1000}} {
		whole := NewPicker(rule)
		var picked []int
		for i := range pts {
			if whole.Pick(pts[i]) {
				picked = append(picked, i)
			}
		}
		for n, i := range picked {
			at := Checkpoint{Index: int64(i), PTS: pts[i], Start: pts[0]}
			p := Job{Sample: rule, Resume: &at, From: int64(i)}.Picker()
			var tail []int
			for j := i + 1; j < len(pts); j++ {
				if p.Pick(pts[j]) {
					tail = append(tail, j)
				}
			}
			if !slices.Equal(tail, picked[n+1:]) {
				t.Errorf("%+v after %d: %v, want %v", rule, i, tail, picked[n+1:])
			}
		}
	}
}

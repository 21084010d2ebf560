//go:build cgo

package ort

import (
	"testing"
	"testing/synctest"
	"time"
)

// scheduler pretends to be Go's, on a machine with 8 cores.
type scheduler struct {
	*testing.T
	processors
	now int
}

func withScheduler(t *testing.T, f func(*scheduler)) {
	synctest.Test(t, func(t *testing.T) {
		s := &scheduler{T: t, now: 8}
		s.cores, s.change = 8, func(n int) { s.now = n }
		f(s)
	})
}

func (s *scheduler) expect(when string, n int) {
	s.Helper()
	synctest.Wait()
	if s.now != n {
		s.Errorf("%s: %d processors, not %d", when, s.now, n)
	}
}

func TestTheSchedulerHasAProcessorMoreForEachEngineThatRuns(t *testing.T) {
	withScheduler(t, func(s *scheduler) {
		s.enter()
		s.expect("one engine runs", 9)
		s.enter()
		s.expect("two run", 10)
		s.leave()
		s.leave()
		time.Sleep(rest / 2)
		s.expect("right behind a batch", 10)
		s.enter()
		time.Sleep(2 * rest)
		s.expect("during a long batch", 10)
		s.leave()
		time.Sleep(rest)
		s.expect("none has run for a while", 8)
		s.enter()
		s.expect("one runs again", 9)
		s.leave()
		time.Sleep(rest)
		s.expect("and has ended", 8)
	})
}

func TestTheSchedulerHasHalfOfTheCoresThatItSharesWithEngines(t *testing.T) {
	withScheduler(t, func(s *scheduler) {
		s.share(true)
		s.expect("decoders and engines have the others", 4)
		s.enter()
		s.expect("an engine runs", 5)
		s.opened(1)
		s.expect("an engine is open on a GPU", 9)
		s.opened(-1)
		s.expect("and closed", 5)
		s.leave()
		time.Sleep(rest)
		s.expect("none runs", 4)
		s.share(false)
		s.expect("they are Go's alone", 8)
	})
}

func TestTheSchedulerHasAtLeastOneProcessor(t *testing.T) {
	withScheduler(t, func(s *scheduler) {
		s.cores = 1
		s.share(true)
		s.expect("there is one core", 1)
	})
}

package infer

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// instance is an engine and what was learned of it.
type instance struct {
	engine Engine
	costs  *costModel
}

// solo is an engine with a thread for every processor core, beside those of one thread
// each. They do more images per second together; it answers one image in half the time.
// So it gets the frames that have the machine to themselves: nothing else is ready, no
// engine runs, somebody waits for the answer, which a file does not, and it was so for
// some time. The runner that has such a frame borrows it. There is none before the first
// such frame was seen, nor if it does not give, bit for bit, what the other engines give.
//
// Everything is guarded by Batcher.mu.
type solo struct {
	open     func() (Engine, error) // nil: there is none and will be none
	opening  bool
	engine   *instance // nil: not opened yet
	borrower *runner   // nil: it is free
}

// Machine knows what runs on the processors that the engines of several Batchers share.
type Machine struct {
	busy atomic.Int32 // runners with a batch that the engine has not done
	row  atomic.Int32 // batches until now, one after the other, that were alone
}

// soloAfter is how many batches in a row must have been alone. Where frames come from
// everywhere, one is alone now and then by chance: to give it all processors, or to open
// an engine for it, is in the way of the next.
const soloAfter = 8

// begin counts a batch, and says whether it and those before it had the machine to
// themselves. mayBe says that its own Batcher has nothing else.
func (m *Machine) begin(mayBe bool) (alone bool) {
	if m.busy.Add(1) > 1 || !mayBe {
		m.row.Store(0)
		return false
	}
	return m.row.Add(1) > soloAfter
}

// end is the end of a batch.
func (m *Machine) end() { m.busy.Add(-1) }

// aloneLocked says whether a batch that was just bound is all that the Batcher has.
func (b *Batcher) aloneLocked(batch []taken) bool {
	return len(batch) == 1 && batch[0].class != File && b.ready.len() == 0
}

// borrowLocked lends the solo engine for a batch that is alone, if it is there and free.
func (b *Batcher) borrowLocked(r *runner, alone bool) {
	r.on, r.alone = &r.instance, b.solo.open != nil && alone
	if r.alone && b.solo.engine != nil && b.solo.borrower == nil {
		r.on, b.solo.borrower = b.solo.engine, r
	}
}

// returnLocked takes it back.
func (b *Batcher) returnLocked(r *runner) {
	if b.solo.borrower == r {
		b.solo.borrower = nil
	}
}

// borrows says whether the batch is on another engine than the runner's own.
func (r *runner) borrows() bool { return r.on != &r.instance }

// wantSolo opens the solo engine after a run for which it would have been the right
// one, unless that was done. It may take a second; nobody waits for it but Close.
func (b *Batcher) wantSolo(e Engine) {
	b.mu.Lock()
	open := b.solo.open
	wanted := open != nil && !b.solo.opening && b.solo.engine == nil && !b.closed
	b.solo.opening = b.solo.opening || wanted
	b.mu.Unlock()
	if !wanted {
		return
	}
	seen := see(e)
	b.running.Go(func() { b.openSolo(open, seen) })
}

func (b *Batcher) openSolo(open func() (Engine, error), seen sight) {
	e, err := open()
	var costs *costModel
	if err == nil {
		costs = newCostModel(e.MaxBatch())
		start := time.Now()
		if err = seen.check(e); err != nil {
			_ = e.Close() // nothing was done with it
		}
		costs.observe(1, time.Since(start))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.solo.opening = false
	switch {
	case err != nil:
		b.solo.open = nil
		b.log.Warn("no engine for frames that are alone; the others do it", "err", err)
	case b.closed:
		_ = e.Close() // nobody needs it any more
	default:
		b.solo.engine = &instance{e, costs}
		b.log.Info("frames that are alone have an engine with all processors", "engine", b.identity.String())
	}
}

// loseSoloLocked forgets the solo engine, which hangs. The next frame that is alone has
// another one opened, a few times.
func (b *Batcher) loseSoloLocked() {
	b.solo.engine, b.solo.borrower = nil, nil
	if b.reopened++; b.reopened > maxReopened {
		b.solo.open = nil
	}
}

// sight is what an engine saw in its last run, and what it made of it.
type sight struct {
	model    *Model
	identity Identity
	input    []byte
	outputs  [][]float32
}

// see copies what the first image of the last run was.
func see(e Engine) sight {
	s := sight{model: e.Model(), identity: e.Identity(), input: slices.Clone(e.Input(0))}
	for k := range s.model.Outputs {
		s.outputs = append(s.outputs, slices.Clone(e.Output(k, 0)))
	}
	return s
}

// check runs the same image on another engine: results must not depend on how much
// there is to do.
func (s *sight) check(e Engine) error {
	if e.Identity() != s.identity {
		return fmt.Errorf("it is %v, the others are %v", e.Identity(), s.identity)
	}
	copy(e.Input(0), s.input)
	if err := e.Run(1); err != nil {
		return err
	}
	for k, want := range s.outputs {
		if !slices.Equal(e.Output(k, 0), want) {
			return fmt.Errorf("its output %s is not, bit for bit, that of the others", s.model.Outputs[k].Name)
		}
	}
	return nil
}

package timeline

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"detections/session/wire"
)

// Create implements Store. The session is on disk when it returns.
func (p *Pebble) Create(_ context.Context, m Meta) error {
	leave, err := p.enter()
	if err != nil {
		return err
	}
	defer leave()
	if len(m.ID) > maxID {
		return fmt.Errorf("timeline: a session id of %d bytes, more than %d", len(m.ID), maxID)
	}
	s := &pebbleSession{st: Status{Meta: m}}
	s.writing.Lock()
	defer s.writing.Unlock()
	p.mu.Lock()
	if p.sessions[m.ID] != nil {
		p.mu.Unlock()
		return ErrExists
	}
	p.sessions[m.ID] = s
	p.mu.Unlock()

	err = p.accepting()
	if err == nil {
		b := p.db.NewBatch()
		defer func() { _ = b.Close() }()
		err = errors.Join(
			b.Set(appendKey(nil, keyMeta, m.ID), appendMeta(nil, &m), nil),
			putState(s, &s.st, b))
		if err == nil {
			err = p.apply(b, onDisk)
		}
	}
	if err != nil {
		p.forget(m.ID)
		return err
	}
	s.set(s.st, true)
	return nil
}

func (p *Pebble) forget(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.sessions, id)
}

// Acquire implements Store. A raised term is not synced: it is for owners in this
// process, and whatever loses it ends them too. So taking over a thousand sessions
// at start costs no sync.
func (p *Pebble) Acquire(_ context.Context, id string) (Status, error) {
	return p.change(id, whenever, func(s *pebbleSession, st *Status, b *pebble.Batch) error {
		st.Term++
		return putState(s, st, b)
	})
}

// Append implements Store. ErrFull, ErrStorage.
func (p *Pebble) Append(_ context.Context, id string, term, after uint64, recs ...Record) error {
	how := again
	for i := range recs {
		if !recs[i].Again {
			how = asAppends
		}
	}
	_, err := p.change(id, how, func(_ *pebbleSession, st *Status, b *pebble.Batch) error {
		if err := checkAppend(st, term, after, recs); err != nil {
			return err
		}
		if err := p.accepting(); err != nil {
			return err
		}
		for i := range recs {
			if err := putRecord(b, st, &recs[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// checkAppend says whether records may follow what a session has.
func checkAppend(st *Status, term, after uint64, recs []Record) error {
	switch {
	case st.Term != term:
		return ErrFenced
	case st.Ended:
		return ErrEnded
	case st.Offset != after:
		return ErrOffset
	}
	for i := range recs {
		if recs[i].Offset != after+1+uint64(i) {
			return ErrOffset
		}
		if recs[i].Type == wire.TypeEnd && i != len(recs)-1 {
			return ErrEnded
		}
	}
	return nil
}

// putRecord puts a record into a batch, and makes the status that of after it.
func putRecord(b *pebble.Batch, st *Status, r *Record) error {
	st.Offset, st.Ended = r.Offset, r.Type == wire.TypeEnd
	st.Bytes += int64(len(r.Message) + len(r.Replay))
	if len(r.Type) > maxType {
		return fmt.Errorf("timeline: an event type of %d bytes", len(r.Type))
	}
	var header [maxHeader]byte
	h := appendHeader(header[:0], r, st.Bytes)
	op := b.SetDeferred(recordKeyLen(st.ID), len(h)+len(r.Message)+len(r.Replay))
	appendRecordKey(op.Key[:0], st.ID, r.Offset)
	n := copy(op.Value, h)
	n += copy(op.Value[n:], r.Message)
	copy(op.Value[n:], r.Replay)
	return op.Finish()
}

// Commit implements Store. ErrFull, ErrStorage.
func (p *Pebble) Commit(_ context.Context, id string, term uint64, in Input) error {
	_, err := p.change(id, onDisk, func(s *pebbleSession, st *Status, b *pebble.Batch) error {
		switch {
		case st.Term != term:
			return ErrFenced
		case in.Less(st.Input):
			return ErrShrink
		case in == st.Input:
			return nil
		}
		st.Input = in
		return cmp.Or(p.accepting(), putState(s, st, b))
	})
	return err
}

// Deliver implements Store.
func (p *Pebble) Deliver(_ context.Context, id string, offset uint64) error {
	_, err := p.change(id, whenever, func(s *pebbleSession, st *Status, b *pebble.Batch) error {
		if offset <= st.Delivered {
			return nil
		}
		st.Delivered = offset
		return putState(s, st, b)
	})
	return err
}

// Read implements Store.
func (p *Pebble) Read(ctx context.Context, id string, after uint64, limit int) ([]Record, error) {
	return p.ReadInto(ctx, id, after, limit, &Scratch{})
}

// ReadInto implements Rereader.
func (p *Pebble) ReadInto(_ context.Context, id string, after uint64, limit int, s *Scratch) ([]Record, error) {
	leave, err := p.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	st, err := p.status(id)
	if err != nil || after >= st.Offset || limit <= 0 {
		return nil, err
	}
	to := after + min(uint64(limit), st.Offset-after)
	bounds := make([]byte, 0, 2*recordKeyLen(id))
	bounds = appendRecordKey(bounds, id, after+1)
	n := len(bounds)
	bounds = appendRecordKey(bounds, id, to+1)
	it, err := p.db.NewIter(&pebble.IterOptions{LowerBound: bounds[:n], UpperBound: bounds[n:]})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStorage, err)
	}
	recs, err := collect(it, after, to, s)
	if err = errors.Join(err, it.Close()); err == nil {
		return recs, nil
	}
	if _, gone := p.status(id); gone != nil {
		return nil, gone // deleted while it was read
	}
	return nil, fmt.Errorf("%w: session %s: %w", ErrStorage, id, err)
}

// collect reads the records after an offset. They share memory, a chunk for many: the
// first and the last of them are those of the scratch.
func collect(it *pebble.Iterator, after, to uint64, s *Scratch) ([]Record, error) {
	recs, chunk := s.recs[:0], s.bytes[:0]
	if uint64(cap(recs)) < to-after {
		recs = make([]Record, 0, to-after)
	}
	defer func() { s.recs, s.bytes = recs, chunk }()
	for it.First(); it.Valid(); it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return nil, err
		}
		after++
		if k := it.Key(); binary.BigEndian.Uint64(k[len(k)-8:]) != after {
			return nil, fmt.Errorf("record %d: %w: %d follows", after, errCorrupt, binary.BigEndian.Uint64(k[len(k)-8:]))
		}
		if cap(chunk)-len(chunk) < len(v) {
			chunk = make([]byte, 0, max(readChunk, 2*cap(chunk), len(v)))
		}
		n := len(chunk)
		chunk = append(chunk, v...)
		r, _, err := parseRecord(after, chunk[n:len(chunk):len(chunk)])
		if err != nil {
			return nil, err
		}
		recs = append(recs, r)
	}
	if after != to {
		return nil, fmt.Errorf("record %d: %w: missing", after+1, errCorrupt)
	}
	return recs, nil
}

func (p *Pebble) status(id string) (Status, error) {
	s, err := p.get(id)
	if err != nil {
		return Status{}, err
	}
	return s.status()
}

// Status implements Store.
func (p *Pebble) Status(_ context.Context, id string) (Status, error) {
	leave, err := p.enter()
	if err != nil {
		return Status{}, err
	}
	defer leave()
	return p.status(id)
}

// List implements Store.
func (p *Pebble) List(_ context.Context, unfinished bool) ([]Status, error) {
	leave, err := p.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	p.mu.RLock()
	all := make([]Status, 0, len(p.sessions))
	for _, s := range p.sessions {
		if st, err := s.status(); err == nil && (!unfinished || !st.Ended) {
			all = append(all, st)
		}
	}
	p.mu.RUnlock()
	slices.SortFunc(all, func(a, b Status) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return all, nil
}

// Delete implements Store. The session is gone from the disk's view when it returns;
// its room is free some seconds later. It works on a full disk.
func (p *Pebble) Delete(_ context.Context, id string) error {
	leave, err := p.enter()
	if err != nil {
		return err
	}
	defer leave()
	s, err := p.get(id)
	if err != nil {
		return nil // there is none, or not any more
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if _, err := s.status(); err != nil {
		return nil
	}
	b := p.db.NewBatch()
	defer func() { _ = b.Close() }()
	err = errors.Join(
		b.Delete(appendKey(nil, keyMeta, id), nil),
		b.Delete(appendKey(nil, keyState, id), nil),
		b.DeleteRange(appendRecordKey(nil, id, 0), appendRecordKey(nil, id, 1<<64-1), nil))
	if err == nil {
		err = p.apply(b, onDisk)
	}
	if err != nil {
		return err
	}
	s.set(Status{}, false)
	p.forget(id)
	return nil
}

// lastRecord takes from a session's last record what it says of the session.
func lastRecord(it *pebble.Iterator, id string, st *Status) error {
	key := appendRecordKey(nil, id, 1<<64-1)
	prefix := key[:len(key)-8]
	if !it.SeekLT(key) || !bytes.HasPrefix(it.Key(), prefix) {
		return it.Error()
	}
	v, err := it.ValueAndErr()
	if err != nil {
		return err
	}
	r, total, err := parseRecord(binary.BigEndian.Uint64(it.Key()[len(prefix):]), v)
	st.Offset, st.Ended, st.Bytes = r.Offset, r.Type == wire.TypeEnd, total
	return err
}

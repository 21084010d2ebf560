package timeline

import (
	"context"
	"slices"
	"sync"

	"detections/session/wire"
)

// Memory is a Store that lives as long as the process.
type Memory struct {
	mu       sync.Mutex
	sessions map[string]*memSession // nil: closed
}

type memSession struct {
	Status
	records []Record
}

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{sessions: map[string]*memSession{}} }

// Create implements Store.
func (m *Memory) Create(_ context.Context, meta Meta) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sessions == nil {
		return ErrClosed
	}
	if m.sessions[meta.ID] != nil {
		return ErrExists
	}
	m.sessions[meta.ID] = &memSession{Status: Status{Meta: meta}}
	return nil
}

// Acquire implements Store.
func (m *Memory) Acquire(_ context.Context, id string) (Status, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.get(id)
	if err != nil {
		return Status{}, err
	}
	s.Term++
	return s.Status, nil
}

// Append implements Store.
func (m *Memory) Append(_ context.Context, id string, term, after uint64, recs ...Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.owned(id, term)
	switch {
	case err != nil:
		return err
	case s.Ended:
		return ErrEnded
	case s.Offset != after:
		return ErrOffset
	}
	for i, r := range recs {
		if r.Offset != after+1+uint64(i) {
			return ErrOffset
		}
		if r.Type == wire.TypeEnd && i != len(recs)-1 {
			return ErrEnded
		}
	}
	if len(recs) == 0 {
		return nil
	}
	s.records = append(s.records, recs...)
	for _, r := range recs {
		s.Bytes += int64(len(r.Message) + len(r.Replay))
	}
	last := recs[len(recs)-1]
	s.Offset, s.Ended = last.Offset, last.Type == wire.TypeEnd
	return nil
}

// Commit implements Store.
func (m *Memory) Commit(_ context.Context, id string, term uint64, in Input) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.owned(id, term)
	if err != nil {
		return err
	}
	if in.Less(s.Input) {
		return ErrShrink
	}
	s.Input = in
	return nil
}

// Deliver implements Store.
func (m *Memory) Deliver(_ context.Context, id string, offset uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.get(id)
	if err != nil {
		return err
	}
	s.Delivered = max(s.Delivered, offset)
	return nil
}

// Read implements Store.
func (m *Memory) Read(_ context.Context, id string, after uint64, limit int) ([]Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.get(id)
	if err != nil {
		return nil, err
	}
	if after >= s.Offset {
		return nil, nil
	}
	return slices.Clone(s.records[after:min(s.Offset, after+uint64(limit))]), nil
}

// Status implements Store.
func (m *Memory) Status(_ context.Context, id string) (Status, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.get(id)
	if err != nil {
		return Status{}, err
	}
	return s.Status, nil
}

// List implements Store.
func (m *Memory) List(_ context.Context, unfinished bool) ([]Status, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sessions == nil {
		return nil, ErrClosed
	}
	var all []Status
	for _, s := range m.sessions {
		if !unfinished || !s.Ended {
			all = append(all, s.Status)
		}
	}
	slices.SortFunc(all, func(a, b Status) int { return a.Created.Compare(b.Created) })
	return all, nil
}

// Erase implements Store: there are no files.
func (m *Memory) Erase(context.Context, string) error { return nil }

// Delete implements Store.
func (m *Memory) Delete(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sessions == nil {
		return ErrClosed
	}
	delete(m.sessions, id)
	return nil
}

// Close implements Store.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sessions = nil
	return nil
}

func (m *Memory) get(id string) (*memSession, error) {
	if m.sessions == nil {
		return nil, ErrClosed
	}
	if s := m.sessions[id]; s != nil {
		return s, nil
	}
	return nil, ErrUnknown
}

func (m *Memory) owned(id string, term uint64) (*memSession, error) {
	s, err := m.get(id)
	if err == nil && s.Term != term {
		return nil, ErrFenced
	}
	return s, err
}

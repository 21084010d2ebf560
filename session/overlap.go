package session

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"detections/session/wire"
)

// CheckOverlap compares a part of the media, as a client has it that comes back, with
// what came before. A *wire.Error of code Conflict says that the client would go on with
// other media, or that the hub has not got so much. A live input does not go on, and
// neither does a session that has ended: there is nothing to compare.
func (s *Session) CheckOverlap(o *wire.Overlap) error {
	if o == nil || s.mode == wire.Live || s.over() {
		return nil
	}
	if n := s.received(); o.From+o.Bytes > n {
		return wire.Errorf(wire.Conflict, "overlap: the hub has %d bytes of this media, not %d; resume without it and send from started.bytes", n, o.From+o.Bytes)
	}
	file, err := s.cfg.Spool.File()
	if err != nil {
		if s.over() { // meanwhile
			return nil
		}
		return err
	}
	defer file.Close() // it is only read
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(file, o.From, o.Bytes)); err != nil {
		return fmt.Errorf("read media again: %w", err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); !strings.EqualFold(got, o.SHA256) {
		return wire.Errorf(wire.Conflict, "overlap: bytes %d to %d of this media are not those that were acknowledged; it is another file, or it was changed", o.From, o.From+o.Bytes)
	}
	return nil
}

// over says whether the session takes no more bytes.
func (s *Session) over() bool {
	s.input.mu.Lock()
	defer s.input.mu.Unlock()
	return s.input.closed
}

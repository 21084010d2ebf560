package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"detections/hub/outbox"
	"detections/session"
	"detections/session/wire"
)

// ErrNoAnnotations says that there is no Annotations service to fetch from.
var ErrNoAnnotations = errors.New("this hub has no Annotations service; start it with --annotations-url")

// Limits of fetching.
const (
	// fetchAnswer is how long the service may take until the first byte of media.
	fetchAnswer = 15 * time.Second
	// fetchPause is how long a service is left alone that cannot go on with media.
	fetchPause = 5 * time.Second
	fetchChunk = 64 << 10 // bytes
)

// fetch is a session's feeder whose bytes come from the Annotations service. It is
// part of the session's record, so that the next process goes on with it.
type fetch struct {
	ETag string `json:"etag,omitempty"`
	Size int64  `json:"size"` // bytes; -1: not known

	id     string
	hub    *Hub
	ctx    context.Context //nolint:containedctx // media is opened before its session is there
	cancel context.CancelFunc
	media  *outbox.Media // opened already; nil: not yet
	owned  bool          // a session has it
}

// Fetch begins a session on media of the Annotations service, which m.Media.ID names,
// and attaches to it as a reader. With a key, or with the hash of bytes of which there
// are results, it may be an earlier session. Errors are wire.Errors: of codes
// UnknownMedia, Conflict if a session with this media is running, Forbidden and
// Overloaded if the service says so, and those of Start; or ErrNoAnnotations.
func (h *Hub) Fetch(ctx context.Context, principal string, m wire.Start) (*session.Attachment, error) {
	if h.outbox == nil {
		return nil, ErrNoAnnotations
	}
	if m.Mode == wire.Live {
		return nil, wire.Errorf(wire.BadMessage, "mode: media of the Annotations service is a file; live is for what is just happening")
	}
	known := h.knows(ctx, principal, m)
	e := known
	if e == nil {
		if e = h.ofKey(principal, m.Key); e != nil {
			if err := sameMedia(e.Asked().Media, m.Media); err != nil {
				return nil, err
			}
		}
	}
	if e == nil {
		var err error
		if e, err = h.beginFetch(ctx, principal, m); err != nil {
			return nil, err
		}
	}
	a, err := h.attach(ctx, e, 0, m.Results, false)
	if err == nil {
		a.Started.Known = known != nil
	}
	return a, err
}

func (h *Hub) beginFetch(ctx context.Context, principal string, m wire.Start) (*entry, error) {
	release, err := h.claim(principal, m.Media.ID)
	if err != nil {
		return nil, err
	}
	defer release()
	f, err := h.openMedia(ctx, m.Media.ID)
	if err != nil {
		return nil, err
	}
	defer func() {
		if !f.owned {
			f.close()
		}
	}()
	m.Media.Name = cmp.Or(m.Media.Name, shortName(f.media.Name))
	if m.Media.Size = max(0, f.Size); m.Media.Size > h.limits.Bytes {
		return nil, wire.Errorf(wire.TooLarge, "the media has %d bytes, which is more than the limit of %d", f.Size, h.limits.Bytes)
	}
	return h.begin(ctx, principal, origin{Start: m, Fetch: f})
}

// shortName is a name as short as the protocol wants it.
func shortName(name string) string {
	return strings.ToValidUTF8(name[:min(len(name), wire.MaxName)], "")
}

// claim makes the caller the one who begins a session of a principal on media, if
// none is running.
func (h *Hub) claim(principal, media string) (release func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := principal + "\x00" + media
	if h.claims[key] {
		return nil, wire.Errorf(wire.Conflict, "a session with media %.80q is just being started", media)
	}
	for _, e := range h.listLocked() {
		if e.Principal() == principal && e.Asked().Media.ID == media && e.Status().End == nil {
			return nil, wire.Errorf(wire.Conflict, "session %s with media %.80q is running; follow it, or cancel it first", e.ID(), media)
		}
	}
	h.claims[key] = true
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.claims, key)
	}, nil
}

// openMedia finds out whether the service gives the media at all. ctx is that of the
// client, who does not wait for the rest.
func (h *Hub) openMedia(ctx context.Context, id string) (*fetch, error) {
	f := &fetch{}
	f.belong(h, id)
	stay := context.AfterFunc(ctx, f.cancel)
	late := time.AfterFunc(fetchAnswer, f.cancel)
	m, err := h.cfg.Outbox.Service.Fetch(f.ctx, id, 0, "")
	inTime, stayed := late.Stop(), stay()
	if err == nil {
		f.media, f.ETag, f.Size = m, m.ETag, m.Size
		if inTime && stayed {
			return f, nil
		}
		err = context.Canceled
	}
	f.close()
	return nil, mediaError(ctx, err)
}

// belong gives a fetch what is not in its record.
func (f *fetch) belong(h *Hub, id string) {
	f.hub, f.id = h, id
	f.ctx, f.cancel = context.WithCancel(context.Background())
}

// mediaError is a refusal of the service in words for the client.
func mediaError(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, outbox.ErrNoMedia):
		return wire.Errorf(wire.UnknownMedia, "%s", err)
	case errors.Is(err, outbox.ErrMediaForbidden):
		return wire.Errorf(wire.Forbidden, "%s", err)
	case errors.Is(err, context.Canceled):
		return wire.Errorf(wire.Overloaded, "the Annotations service did not answer within %v; try again later", fetchAnswer)
	}
	return wire.Errorf(wire.Overloaded, "%s; try again later", err)
}

// close gives the media up.
func (f *fetch) close() {
	if f.media != nil {
		_ = f.media.Close() // it was only read
	}
	f.cancel()
}

// feed brings the media into a session, until it is complete or the session is over;
// stop ends it. A fetch of nil has nothing to do.
func (f *fetch) feed(s *session.Session) (stop func()) {
	if f == nil {
		return func() {}
	}
	feeder, from := s.Attach()
	done := make(chan struct{})
	go func() { defer close(done); f.run(feeder, from) }()
	return func() { f.cancel(); <-done }
}

// run tries again for as long as other feeders may be away.
func (f *fetch) run(feeder *session.Feeder, from int64) {
	defer f.close()
	for since := time.Now(); ; {
		n, err := f.copy(feeder, from)
		if n > 0 {
			since = time.Now()
		}
		from += n
		refused, is := errors.AsType[*wire.Error](err)
		lost := time.Since(since) >= f.hub.limits.Linger
		switch {
		case err == nil:
			feeder.EOF()
			return
		case f.ctx.Err() != nil: // the session is over, or goes on in another process
			return
		case is:
			feeder.Fail(refused)
			return
		case !errors.Is(err, outbox.ErrMediaBroken) || lost:
			feeder.CutOff(err.Error())
			return
		}
		f.hub.log.Warn("media cannot be fetched for now", "media", f.id, "bytes", from, "err", err)
		select {
		case <-time.After(fetchPause):
		case <-f.ctx.Done():
		}
	}
}

// copy fetches as much as one go gives, from a byte on.
func (f *fetch) copy(feeder *session.Feeder, from int64) (int64, error) {
	m := f.media
	if f.media = nil; m == nil {
		var err error
		if m, err = f.hub.cfg.Outbox.Service.Fetch(f.ctx, f.id, from, f.ETag); err != nil {
			return 0, err
		}
	}
	defer func() { _ = m.Close() }() // it was only read
	if m.Size >= 0 && f.Size >= 0 && m.Size != f.Size {
		return 0, fmt.Errorf("%w: it had %d bytes, and has %d", outbox.ErrMediaChanged, f.Size, m.Size)
	}
	return io.CopyBuffer(feeder.Paced(), m, make([]byte, fetchChunk))
}

package loader

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// reserve is the room that a download leaves on the disk, on which the hub keeps
// uploads and results too.
const reserve = 64 << 20

// model makes sure that the newest model is in the store. It asks for it on condition
// that it is not the known one, and for no more than what has not come yet.
func (s *Service) model(ctx context.Context, known entry, progress func(Progress)) (entry, error) {
	header := map[string]string{"If-None-Match": known.ETag}
	var d *download
	if _, err := read(s.store.partOf(), 1<<16); err == nil {
		if d, err = s.store.resume(s.url); err != nil {
			return entry{}, err
		}
		defer d.file.Close()
		if d.done > 0 {
			header["Range"], header["If-Range"] = fmt.Sprintf("bytes=%d-", d.done), d.of.ETag
		}
	}
	res, alive, done, err := s.get(ctx, s.url, header)
	if err != nil {
		return entry{}, err
	}
	defer done()
	switch {
	case res.StatusCode == http.StatusNotModified && known.ETag != "":
		return known, d.forget() // a part of a version that was taken back
	case res.StatusCode == http.StatusPartialContent && d != nil && d.done > 0:
		return s.rest(res, d, alive, progress)
	case res.StatusCode == http.StatusRequestedRangeNotSatisfiable && d != nil:
		if err := d.restart(partial{}); err != nil {
			return entry{}, err
		}
		return entry{}, &Error{Reason: Truncated, Err: errors.New("the part that is here is of another file; it is thrown away")}
	case res.StatusCode != http.StatusOK:
		return entry{}, refusal(res)
	}
	of := partial{URL: s.url, Size: max(0, res.ContentLength)}
	if etag := res.Header.Get("ETag"); !strings.HasPrefix(etag, "W/") {
		of.ETag = etag
	}
	if of.SHA256, err = s.sumOf(ctx, res.Header); err != nil {
		return entry{}, err
	}
	e := entryOf(res, of)
	if s.store.has(of.SHA256) {
		return e, d.forget()
	}
	if d == nil {
		if d, err = s.store.resume(s.url); err != nil {
			return entry{}, err
		}
		defer d.file.Close()
	}
	if err := s.room(of.Size); err != nil {
		return entry{}, err
	}
	if err := d.restart(of); err != nil {
		return entry{}, err
	}
	alive(int(min(s.enough, 1<<30))) // the wait for the checksum is over
	return s.receive(res, d, e, alive, progress)
}

// entryOf is what the headers say of a version.
func entryOf(res *http.Response, of partial) entry {
	return entry{URL: of.URL, Version: clean(res.Header.Get("X-Model-Version")), SHA256: of.SHA256, Size: of.Size, ETag: res.Header.Get("ETag")}
}

// room says so if there is no room for so many bytes.
func (s *Service) room(size int64) error {
	if size > MaxFile {
		return &Error{Reason: Invalid, Err: fmt.Errorf("expected a model of at most %d bytes, found one of %d", MaxFile, size)}
	}
	if n, err := s.free(s.store.dir); err == nil && n < size+reserve {
		return &Error{Reason: NoSpace, Err: fmt.Errorf("the model has %d bytes, and %s has room for %d: expected %d more than the model, for uploads and results", size, s.store.dir, n, reserve)}
	}
	return nil
}

// rest goes on with a download.
func (s *Service) rest(res *http.Response, d *download, alive func(int), progress func(Progress)) (entry, error) {
	var from, to, size int64
	if n, _ := fmt.Sscanf(res.Header.Get("Content-Range"), "bytes %d-%d/%d", &from, &to, &size); n != 3 ||
		from != d.done || d.of.Size != 0 && size != d.of.Size || to != size-1 {
		found := res.Header.Get("Content-Range")
		return entry{}, errors.Join(d.restart(partial{}), &Error{Reason: Invalid, Err: fmt.Errorf("expected the bytes from %d to the end of %d, found %q", d.done, d.of.Size, clean(found))})
	}
	if sum := sumIn(res.Header); sum != "" && sum != d.of.SHA256 {
		return entry{}, errors.Join(d.restart(partial{}), &Error{Reason: Mismatch, Err: fmt.Errorf("expected the rest of %s, found that of %s", d.of.SHA256, sum)})
	}
	d.of.Size = size
	if err := s.room(size - d.done); err != nil {
		return entry{}, err
	}
	return s.receive(res, d, entryOf(res, d.of), alive, progress)
}

// receive writes the answer's body to disk, hashing it as it passes, and puts it into
// its place if it is what was said.
func (s *Service) receive(res *http.Response, d *download, e entry, alive func(int), progress func(Progress)) (entry, error) {
	if progress == nil {
		progress = func(Progress) {}
	}
	start, from, buf := time.Now(), d.done, make([]byte, 256<<10)
	tell := func() {
		p := Progress{Done: d.done, Total: d.of.Size}
		if took := time.Since(start); d.done > from && d.of.Size > 0 {
			p.ETA = time.Duration(float64(took) * float64(d.of.Size-d.done) / float64(d.done-from))
		}
		progress(p)
	}
	for tell(); ; {
		n, err := res.Body.Read(buf)
		if n > 0 {
			alive(n)
			if d.done+int64(n) > MaxFile {
				return entry{}, errors.Join(d.restart(partial{}), &Error{Reason: Invalid, Err: fmt.Errorf("expected a model of at most %d bytes, found more", MaxFile)})
			}
			if _, err := d.Write(buf[:n]); err != nil {
				return entry{}, s.unwritten(d, err)
			}
			tell()
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			e := s.broken(res.Request.Context(), err, Truncated)
			e.Err = fmt.Errorf("%d of %d bytes came: %w", d.done, d.of.Size, e.Err)
			return entry{}, e
		}
	}
	if got := d.got(); got != e.SHA256 || d.of.Size > 0 && d.done != d.of.Size {
		err := fmt.Errorf("expected sha256 %s of %d bytes, found %s of %d", e.SHA256, d.of.Size, got, d.done)
		return entry{}, errors.Join(d.restart(partial{}), &Error{Reason: Mismatch, Err: err})
	}
	e.Size = d.done
	return e, d.finish()
}

// unwritten is an error of the disk. A part that fills it helps nobody.
func (s *Service) unwritten(d *download, err error) error {
	reason := onDisk(err)
	if reason == NoSpace {
		err = errors.Join(err, d.restart(partial{}))
	}
	return &Error{Reason: reason, Err: fmt.Errorf("write %s: %w", d.s.part(), err)}
}

package loader

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// settle is how long a file must stay as it is before a change of it is taken: it may
// still be being copied.
const settle = time.Second

// disk is a model file, or a folder with versions of a model.
type disk struct {
	path string
	// Owned by who calls Fetch.
	seen []fs.FileInfo // of the files that were read last; nil where there was none
	key  string        // what became of them
}

// Disk is the model in a file, or the newest of a folder: of its *.onnx files, and of
// those of its subfolders that have one (folder/2026-11/people.onnx, whose version is
// 2026-11), the one that was changed last. What begins with a dot is left out. Beside
// the model may lie its description, see [ReadFile].
//
// It is watched by looking at times and sizes at each Fetch. That works for network
// file systems, mounted folders and links that are moved to another target, where
// notifications do not, and costs a few system calls.
func Disk(path string) Source { return &disk{path: path} }

func (d *disk) String() string { return d.path }

// Fetch implements Source. A file that changes is read once it has stayed as it is for
// a second.
func (d *disk) Fetch(ctx context.Context, have string, _ func(Progress)) (File, error) {
	for {
		c, err := choose(d.path)
		if err != nil {
			return File{}, d.failed(err)
		}
		before := stamps(c.file)
		if have != "" {
			if have == d.key && same(before, d.seen) {
				return File{}, ErrSame
			}
			if err := pause(ctx, settle); err != nil {
				return File{}, err
			}
			if !same(before, stamps(c.file)) {
				continue
			}
		}
		f, err := ReadFile(c.file)
		if !same(before, stamps(c.file)) {
			if err := pause(ctx, settle); err != nil {
				return File{}, err
			}
			continue // it was changed while it was read
		}
		if err != nil {
			return File{}, d.failed(err)
		}
		if f.Version == f.SHA256[:12] && c.version != "" {
			f.Version = c.version
		}
		d.seen, d.key = before, f.Key()
		if d.key == have {
			return File{}, ErrSame
		}
		return f, nil
	}
}

func (d *disk) failed(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok && e.Path == d.path {
		return &Error{Source: d.path, Reason: reasonOf(err), Err: e.Err}
	}
	return &Error{Source: d.path, Reason: reasonOf(err), Err: err}
}

// reasonOf is the reason of an error of a file of the operator's.
func reasonOf(err error) Reason {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return NotFound
	case errors.Is(err, fs.ErrPermission):
		return Denied
	case errors.As(err, new(*fs.PathError)):
		return Storage
	}
	return Invalid
}

// pause waits, unless ctx ends before.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stamps are what tells that a model or its description was changed.
func stamps(path string) []fs.FileInfo {
	all := make([]fs.FileInfo, 0, 3)
	for _, p := range append([]string{path}, descriptions(path)...) {
		st, err := os.Stat(p)
		if err != nil {
			st = nil
		}
		all = append(all, st)
	}
	return all
}

// same says that none of the files was changed. A file that was replaced by one of the
// same size and time is another file.
func same(a, b []fs.FileInfo) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if (a[i] == nil) != (b[i] == nil) {
			return false
		}
		if a[i] != nil && (a[i].Size() != b[i].Size() || !a[i].ModTime().Equal(b[i].ModTime()) || !os.SameFile(a[i], b[i])) {
			return false
		}
	}
	return true
}

// candidate is a model of a folder.
type candidate struct {
	file    string
	version string // the subfolder's name; empty: it is in none
	changed time.Time
}

// maxEntries bounds the models of a folder.
const maxEntries = 10_000

// choose finds the newest model of a folder; the path itself if it is a file.
func choose(path string) (candidate, error) {
	st, err := os.Stat(path)
	if err != nil {
		return candidate{}, err
	}
	if !st.IsDir() {
		return candidate{file: path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return candidate{}, err
	}
	if len(entries) > maxEntries {
		return candidate{}, fmt.Errorf("%s has %d entries, expected at most %d", path, len(entries), maxEntries)
	}
	var best candidate
	for _, e := range entries {
		c := candidate{file: filepath.Join(path, e.Name())}
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		st, err := os.Stat(c.file) // of the target, if it is a link
		if err != nil {
			continue
		}
		if st.IsDir() {
			models, err := filepath.Glob(filepath.Join(escape(c.file), "[^.]*.onnx"))
			if err != nil || len(models) != 1 {
				continue
			}
			c.file, c.version = models[0], e.Name()
			if st, err = os.Stat(c.file); err != nil {
				continue
			}
		}
		c.changed = st.ModTime()
		// Of two of the same time the later name wins: ReadDir is sorted.
		if st.Mode().IsRegular() && filepath.Ext(c.file) == ".onnx" && !c.changed.Before(best.changed) {
			best = c
		}
	}
	if best.file == "" {
		return best, fmt.Errorf("expected a file *.onnx in %s or in a folder of it, found none among %d entries: %w", path, len(entries), fs.ErrNotExist)
	}
	return best, nil
}

// escape makes a path mean itself to Glob.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// embeddedSource is the embedded model as a source.
type embeddedSource struct{}

// EmbeddedSource is the model that is part of the program.
func EmbeddedSource() Source { return embeddedSource{} }

func (embeddedSource) String() string { return "embedded" }

func (embeddedSource) Fetch(_ context.Context, have string, _ func(Progress)) (File, error) {
	f, err := Embedded()
	switch {
	case err != nil:
		return f, &Error{Source: "embedded", Reason: Mismatch, Err: err}
	case have == f.Key():
		return File{}, ErrSame
	}
	return f, nil
}

package loader

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"detections/infer"
)

// classesFile is the name of the file with the classes beside a model.
const classesFile = "classes.json"

// classed is a source whose models are dressed with a list of classes.
type classed struct {
	Source
	path     string
	optional bool
	// Owned by who calls Fetch.
	inner, key string // of the model that was given last, without the classes and with
}

// WithClasses is a source with the classes of a file (classes.json), which is read at
// each Fetch: a change of it is a new version of the model, with other File.Description
// and the same bytes. An empty path means classes.json beside a model of [Disk], if there
// is one.
func WithClasses(s Source, path string) Source {
	c := &classed{Source: s, path: path}
	if d, ok := s.(*disk); ok && path == "" {
		c.optional, c.path = true, filepath.Join(d.path, classesFile)
		if st, err := os.Stat(d.path); err != nil || !st.IsDir() {
			c.path = filepath.Join(filepath.Dir(d.path), classesFile)
		}
	}
	if c.path == "" {
		return s
	}
	return c
}

// Fetch implements Source.
func (c *classed) Fetch(ctx context.Context, have string, progress func(Progress)) (File, error) {
	list, err := c.read()
	if err != nil {
		return File{}, err
	}
	inner := "" // what the source is asked for must come, for other classes
	if have != "" && have == c.key && have == with(c.inner, list) {
		inner = c.inner
	}
	f, err := c.Source.Fetch(ctx, inner, progress)
	if err != nil && inner == "" && have != "" && have == c.key {
		// The source is away, but other classes need only what is there.
		if last, lastErr := c.last(); lastErr == nil && last.Key() == c.inner {
			f, err = last, nil
		}
	}
	if err != nil {
		return File{}, err
	}
	f = c.dress(f, list)
	if f.Key() == have {
		return File{}, ErrSame
	}
	return f, nil
}

// Last implements Keeper, if the source does.
func (c *classed) Last() (File, error) {
	list, err := c.read()
	if err != nil {
		return File{}, err
	}
	f, err := c.last()
	if err != nil {
		return File{}, err
	}
	return c.dress(f, list), nil
}

func (c *classed) last() (File, error) {
	k, ok := c.Source.(Keeper)
	if !ok {
		return File{}, fs.ErrNotExist
	}
	return k.Last()
}

// read reads the classes; nil: there are none, and there need not be.
func (c *classed) read() (*infer.ClassList, error) {
	text, err := read(c.path, infer.MaxDescription)
	if errors.Is(err, fs.ErrNotExist) && c.optional {
		return nil, nil //nolint:nilnil // documented
	}
	if err != nil {
		return nil, &Error{Source: c.path, Reason: reasonOf(err), Err: err}
	}
	list, err := infer.ParseClasses(text, c.path)
	if err != nil {
		return nil, &Error{Source: c.path, Reason: Invalid, Err: err}
	}
	return list, nil
}

// dress gives a model the classes.
func (c *classed) dress(f File, list *infer.ClassList) File {
	c.inner = f.Key()
	if list != nil {
		d := infer.Description{}
		if f.Description != nil {
			d = *f.Description
		}
		d.Classes, f.Description = list, &d
	}
	f.key = with(c.inner, list)
	c.key = f.key
	return f
}

// with is the key of a model with classes.
func with(key string, list *infer.ClassList) string {
	if list == nil {
		return key
	}
	return key + "+" + list.Sum()
}

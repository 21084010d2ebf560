package loader

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"detections/infer"
)

// store keeps the models of one name in a folder:
//
//	<sha256>/model.onnx   verified, never changed
//	<name>.json           the versions that are kept, the newest first: [entry]
//	<name>.part           what has come of a download that is not over
//	<name>.part-of        what it is of: [partial]
//
// Each file appears whole or not at all: it is written beside its place, synced and
// renamed.
type store struct {
	dir, name string
	inUse     func(sha256 string) bool
}

// kept is how many versions are kept beside those in use.
const kept = 2

// entry is a version that was fetched and verified.
type entry struct {
	URL         string `json:"url"`
	Version     string `json:"version,omitempty"` // as the service calls it
	SHA256      string `json:"sha256"`
	Size        int64  `json:"size"`
	ETag        string `json:"etag,omitempty"`
	Description string `json:"description,omitempty"` // text of the description
	// DescribedBy is where it is from.
	DescribedBy     string `json:"described_by,omitempty"`
	DescriptionETag string `json:"description_etag,omitempty"`
}

// partial is what a download is of that is not over.
type partial struct {
	URL    string `json:"url"`
	ETag   string `json:"etag"` // strong
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"` // of the whole; 0: unknown
}

func (s *store) index() string           { return filepath.Join(s.dir, s.name+".json") }
func (s *store) part() string            { return filepath.Join(s.dir, s.name+".part") }
func (s *store) partOf() string          { return s.part() + "-of" }
func (s *store) model(sum string) string { return filepath.Join(s.dir, sum, "model.onnx") }

// entries are the versions that are kept, the newest first. An index that cannot be read
// is as good as none.
func (s *store) entries() []entry {
	var all []entry
	if text, err := read(s.index(), 16*infer.MaxDescription); err != nil || json.Unmarshal(text, &all) != nil {
		return nil
	}
	return slices.DeleteFunc(all, func(e entry) bool { return !isSum(e.SHA256) })
}

// isSum says whether a text is a SHA-256 in lower-case hex.
func isSum(text string) bool {
	b, err := hex.DecodeString(text)
	return err == nil && len(b) == sha256.Size && text == strings.ToLower(text)
}

// load reads a version and verifies it: disks rot.
func (s *store) load(e entry) (File, error) {
	path := s.model(e.SHA256)
	b, err := read(path, MaxFile)
	if err != nil {
		return File{}, err
	}
	f, err := verify(s.name, b, e.SHA256)
	if err != nil {
		_ = os.RemoveAll(filepath.Dir(path)) // it is fetched again
		return File{}, err
	}
	f.Path = path
	f.Version = cmp.Or(e.Version, f.Version)
	if e.Description != "" {
		if err := f.describe([]byte(e.Description), e.DescribedBy); err != nil {
			return File{}, fmt.Errorf("%s: %w", e.DescribedBy, err)
		}
	}
	return f, nil
}

// has says whether the bytes of a version are there.
func (s *store) has(sum string) bool {
	st, err := os.Stat(s.model(sum))
	return err == nil && st.Mode().IsRegular()
}

// keep makes e the newest version and removes those that nobody needs.
func (s *store) keep(e entry) error {
	all := slices.DeleteFunc(s.entries(), func(o entry) bool { return o.SHA256 == e.SHA256 })
	all = slices.Insert(all, 0, e)
	kepts := all[:0]
	for i, e := range all {
		if i < kept || s.inUse != nil && s.inUse(e.SHA256) {
			kepts = append(kepts, e)
		}
	}
	text, err := json.MarshalIndent(kepts, "", "  ")
	if err != nil {
		return err
	}
	if err := replace(s.index(), text); err != nil {
		return err
	}
	return s.collect()
}

// collect removes the models that no name keeps. Who uses one has read it.
func (s *store) collect() error {
	here, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	needed := map[string]bool{}
	for _, e := range here {
		if name, ok := strings.CutSuffix(e.Name(), ".json"); ok {
			for _, e := range (&store{dir: s.dir, name: name}).entries() {
				needed[e.SHA256] = true
			}
		}
	}
	for _, e := range here {
		if isSum(e.Name()) && !needed[e.Name()] && (s.inUse == nil || !s.inUse(e.Name())) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(s.dir, e.Name())))
		}
	}
	return err
}

// replace writes a file, whole or not at all.
func replace(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // it has another name by then
	_, err = f.Write(text)
	return errors.Join(err, publish(f, path))
}

// publish syncs and closes a file and gives it its name.
func publish(f *os.File, path string) error {
	err := errors.Join(f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func syncFolder(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // G304: one of ours
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// download is a file that is coming, hashed as it comes.
type download struct {
	s    *store
	of   partial
	file *os.File
	sum  hash.Hash
	done int64
}

// resume opens what has come of a download from an address, or an empty file. One process
// at a time may have it.
func (s *store) resume(from string) (*download, error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(s.part(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil { //nolint:gosec // G115: a descriptor
		return nil, errors.Join(fmt.Errorf("another process downloads to %s: %w", s.part(), err), f.Close())
	}
	d := &download{s: s, file: f, sum: sha256.New()}
	if text, err := read(s.partOf(), 1<<16); err == nil && json.Unmarshal(text, &d.of) == nil && d.of.ETag != "" && d.of.URL == from {
		d.done, err = io.Copy(d.sum, f)
		if err == nil && (d.of.Size == 0 || d.done < d.of.Size) {
			return d, nil
		}
	}
	return d, d.restart(partial{})
}

// restart forgets what has come, and notes what comes now.
func (d *download) restart(of partial) error {
	d.of, d.done = of, 0
	d.sum.Reset()
	if err := os.Remove(d.s.partOf()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := d.file.Truncate(0); err != nil {
		return err
	}
	if _, err := d.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if of.ETag == "" {
		return nil // it cannot be told whether the rest belongs to it
	}
	text, err := json.Marshal(of)
	if err != nil {
		return err
	}
	return replace(d.s.partOf(), text)
}

// forget removes what has come; d may be nil.
func (d *download) forget() error {
	if d == nil {
		return nil
	}
	return errors.Join(d.restart(partial{}), os.Remove(d.s.part()))
}

// Write implements io.Writer.
func (d *download) Write(p []byte) (int, error) {
	n, err := d.file.Write(p)
	d.sum.Write(p[:n])
	d.done += int64(n)
	return n, err
}

// finish gives what came its place, if it is what was said.
func (d *download) finish() error {
	dir := filepath.Join(d.s.dir, d.of.SHA256)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := d.file.Sync(); err != nil {
		return err
	}
	if err := os.Rename(d.s.part(), d.s.model(d.of.SHA256)); err != nil {
		return err
	}
	_ = os.Remove(d.s.partOf())
	return errors.Join(syncFolder(dir), syncFolder(d.s.dir))
}

func (d *download) got() string { return hex.EncodeToString(d.sum.Sum(nil)) }

// free is how many bytes a folder has room for.
func free(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * st.Bsize, nil //nolint:gosec,unconvert // G115: fewer than 2^63; another type elsewhere
}

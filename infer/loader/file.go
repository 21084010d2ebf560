package loader

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"detections/infer"
)

// MaxFile bounds the bytes of a model file: ONNX files are no larger than 2 GiB.
const MaxFile = 2<<30 - 1

// ReadFile reads a model and the description beside it: of folder/people.onnx that is
// folder/people.json, or else folder/model.json. Without either the model must say
// everything itself. The model's name is that of the file, unless the description
// has one.
func ReadFile(path string) (File, error) {
	b, err := read(path, MaxFile)
	if err != nil {
		return File{}, err
	}
	f := File{Name: strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)), SHA256: infer.SHA256(b), Bytes: b, Origin: path}
	f.Version = f.SHA256[:12]
	for _, beside := range descriptions(path) {
		text, err := read(beside, infer.MaxDescription)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = f.describe(text, beside)
		}
		if err != nil {
			return File{}, fmt.Errorf("%s: %w", beside, err)
		}
		break
	}
	return f, nil
}

// descriptions are where the description of a model file can be.
func descriptions(path string) []string {
	dir, file := filepath.Split(path)
	name := strings.TrimSuffix(file, filepath.Ext(file))
	return []string{filepath.Join(dir, name+".json"), filepath.Join(dir, "model.json")}
}

// describe adds a description to the file.
func (f *File) describe(text []byte, from string) error {
	d, err := infer.ParseDescription(text)
	if err != nil {
		return err
	}
	f.Description, f.DescribedBy = d, from
	f.Name, f.Version = cmp.Or(d.Name, f.Name), cmp.Or(d.Version, f.Version)
	f.key = f.SHA256 + "+" + d.Sum()
	return nil
}

// read reads a file of at most so many bytes.
func read(path string, most int64) ([]byte, error) {
	st, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !st.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a file", path)
	case st.Size() > most:
		return nil, fmt.Errorf("%s has %d bytes, expected at most %d", path, st.Size(), most)
	}
	return os.ReadFile(path) //nolint:gosec // G304: the operator names the file
}

// Package loader fetches, verifies and stores models, and watches for newer versions:
// [EmbeddedSource], so that the program works alone, files and folders ([Disk]), and the
// Loader service ([Service]). A [Watcher] follows one of them.
//
// The embedded model is NanoDet-g for the 80 classes of COCO; NOTICE says where it
// comes from and under which licences it is.
package loader

import (
	"cmp"
	_ "embed"
	"fmt"
	"sync"

	"detections/infer"
)

// File is a model file as it was loaded and verified.
type File struct {
	Name    string
	Version string // first 12 hex digits of SHA256, unless the file's source names a version
	SHA256  string // lower-case hex
	Bytes   []byte // the ONNX file; not to be changed
	// Description overrides what the file says; nil: there is none.
	Description *infer.Description
	DescribedBy string // path or address of the description
	// Path is where the file is on disk, never to change; empty: it is not, or it may
	// change there.
	Path string
	// Origin is the path that it was read from; empty: it came from elsewhere.
	Origin string
	key    string
}

// Key tells two models apart that give other results or are shown otherwise: it is the
// SHA256 of the file, and with a description or classes the sums of those.
func (f *File) Key() string { return cmp.Or(f.key, f.SHA256) }

const (
	embeddedName   = "nanodet-g-416"
	embeddedSHA256 = "ce53d22ed9cb4b682692958781ff09f11e953a01d291d68fd044b2b8ff1e8aad"
)

//go:embed nanodet-g-416.onnx
var embedded []byte

// Notice is the text that must go with the embedded model: its licence and who
// made it.
//
//go:embed NOTICE
var Notice string

// Embedded returns the model that is part of the program. Its checksum is verified
// on the first call.
func Embedded() (File, error) { return loadEmbedded() }

var loadEmbedded = sync.OnceValues(func() (File, error) {
	return verify(embeddedName, embedded, embeddedSHA256)
})

func verify(name string, b []byte, want string) (File, error) {
	if got := infer.SHA256(b); got != want {
		return File{}, fmt.Errorf("model %s: sha256 is %s, not %s", name, got, want)
	}
	return File{Name: name, Version: want[:12], SHA256: want, Bytes: b}, nil
}

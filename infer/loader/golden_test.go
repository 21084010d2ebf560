package loader

import (
	"bytes"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"detections/infer/loader/loadertest"
)

func TestGoldenPicturesComeWithAVersion(t *testing.T) {
	picture := noise(3, 5000)
	r := newRig(t, func(s *loadertest.Service) {
		s.Pictures = map[string][]byte{"golden/a b/street.jpg": picture}
		s.Put("people", loadertest.Model{Bytes: noise(1, rigSize), Golden: `[{"image": "golden/a b/street.jpg", "nothing": true}]`})
	})
	f := r.fetch(t, "")
	lists := f.GoldenLists()
	if len(lists) != 1 {
		t.Fatalf("lists %q", lists)
	}
	if b, err := os.ReadFile(filepath.Join(filepath.Dir(lists[0]), "golden/a b/street.jpg")); err != nil || !bytes.Equal(b, picture) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if last, err := r.open(t, ServiceConfig{}).Last(); err != nil || len(last.GoldenLists()) != 1 {
		t.Errorf("after a restart: %q, %v", last.GoldenLists(), err)
	}
	n := len(r.fake.Requests())
	if _, err := r.Fetch(t.Context(), f.Key(), nil); !errors.Is(err, ErrSame) {
		t.Error(err)
	}
	if all := r.fake.Requests()[n:]; len(all) != 2 {
		t.Errorf("nothing is new, and it is asked %+v", all)
	}
	r.fake.Put("people", loadertest.Model{Bytes: noise(1, rigSize)})
	if f := r.fetch(t, ""); f.GoldenLists() != nil {
		t.Errorf("they are gone: %q", f.GoldenLists())
	}
}

func TestGoldenPicturesThatMakeNoSenseAreAReason(t *testing.T) {
	for list, want := range map[string]string{
		`{}`:                                           "people.golden.json: expected a list of golden pictures",
		`[{"image": "../people.json"}]`:                "expected a path beside the list",
		`[{"image": "/etc/passwd"}]`:                   "expected a path beside the list",
		`[{"image": "golden.json"}]`:                   "expected a path beside the list",
		`[{"image": "http://else/x"}]`:                 "expected a path beside the list",
		`[{"image": ""}]`:                              "expected a path beside the list",
		`[{"image": "golden/none.jpg"}]`:               "models/golden/none.jpg, found nothing (404)",
		`[` + strings.Repeat(`{},`, MaxGolden) + `{}]`: "33 golden pictures, expected at most 32",
	} {
		r := newRig(t, func(s *loadertest.Service) {
			s.Put("people", loadertest.Model{Bytes: noise(1, rigSize), Golden: list})
		})
		if _, err := r.Fetch(t.Context(), "", nil); reason(err) != Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %q", list, err, want)
		}
		if left, err := filepath.Glob(filepath.Join(r.folder, "*", ".golden-*")); err != nil || left != nil {
			t.Errorf("%q are left, %v", left, err)
		}
		if _, err := os.Stat(filepath.Join(r.folder, "..", "people.json")); !errors.Is(err, fs.ErrNotExist) {
			t.Error("a picture is outside")
		}
	}
}

// A drip of bytes would take minutes here. It is broken off, and the next attempt goes on
// where it ended.
func TestADripIsBrokenOffAndGoneOnWith(t *testing.T) {
	var mended atomic.Bool
	r := newRig(t, func(s *loadertest.Service) {
		s.CutAfter, s.DripEvery = 10, 50*time.Millisecond
		s.Fault = func(int) loadertest.Fault {
			if mended.Load() {
				return loadertest.None
			}
			return loadertest.Drip
		}
	})
	slow := r.open(t, ServiceConfig{Timeout: 300 * time.Millisecond, MinRate: 10_000})
	for came := int64(0); came == 0; { // on a machine that is busy not even the first bytes come in time
		_, err := slow.Fetch(t.Context(), "", func(p Progress) { came = p.Done })
		if reason(err) != Slow || !strings.Contains(err.Error(), "or less than 3000 bytes") {
			t.Fatalf("a drip: %v", err)
		}
	}
	mended.Store(true)
	f := r.fetch(t, "")
	if q := r.last(); !bytes.Equal(f.Bytes, noise(1, rigSize)) || q.Status != http.StatusPartialContent || !strings.HasPrefix(q.Range, "bytes=") {
		t.Errorf("the rest is asked for with %+v", q)
	}
}

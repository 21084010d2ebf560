package loader

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"detections/infer/loader/loadertest"
)

// rig is a Loader with the model people, and what a hub keeps of it.
type rig struct {
	*Service
	at     *httptest.Server
	folder string
	fake   *loadertest.Service
}

const rigSize = 100_000

// noise is a model file to a loader: bytes of which no two versions are alike.
func noise(version uint64, n int) []byte {
	r, b := rand.New(rand.NewPCG(version, 7)), make([]byte, n) //nolint:gosec // G404: any bytes
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func newRig(t *testing.T, change ...func(*loadertest.Service)) *rig {
	t.Helper()
	r := &rig{folder: filepath.Join(t.TempDir(), "models"), fake: &loadertest.Service{}}
	r.fake.Put("people", loadertest.Model{Bytes: noise(1, rigSize), Version: "v1", Description: `{"labels": ["person"]}`})
	for _, c := range change {
		c(r.fake)
	}
	r.at = httptest.NewServer(r.fake)
	t.Cleanup(func() {
		r.at.Close()
		for _, v := range r.fake.Violations() {
			t.Errorf("violation: %s", v)
		}
	})
	r.Service = r.open(t, ServiceConfig{})
	return r
}

// open makes another Service with the same folder, as a later start of the hub does.
func (r *rig) open(t *testing.T, c ServiceConfig) *Service {
	t.Helper()
	c.URL, c.Name, c.Folder, c.HTTP = r.at.URL, "people", r.folder, r.at.Client()
	s, err := NewService(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fetch fetches, and must succeed.
func (r *rig) fetch(t *testing.T, have string) File {
	t.Helper()
	f, err := r.Fetch(t.Context(), have, nil)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// last is the last request for the model.
func (r *rig) last() loadertest.Request {
	all := r.fake.Requests()
	for i := len(all) - 1; ; i-- {
		if filepath.Ext(all[i].Path) == "" {
			return all[i]
		}
	}
}

func reason(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return ""
}

func TestAModelComesWithItsVersionAndDescription(t *testing.T) {
	for _, sum := range []loadertest.Sum{loadertest.InHeader, loadertest.InDigest, loadertest.InSidecar} {
		r := newRig(t, func(s *loadertest.Service) { s.Sum = sum })
		var told []Progress
		f, err := r.Fetch(t.Context(), "", func(p Progress) { told = append(told, p) })
		if err != nil || !bytes.Equal(f.Bytes, noise(1, rigSize)) || f.Name != "people" || f.Version != "v1" || f.Description.Labels[0] != "person" {
			t.Fatalf("got %s@%s of %d bytes, %v", f.Name, f.Version, len(f.Bytes), err)
		}
		if b, err := os.ReadFile(f.Path); err != nil || !bytes.Equal(b, f.Bytes) {
			t.Errorf("%s is not the model: %v", f.Path, err)
		}
		if p := told[len(told)-1]; p.Done != rigSize || p.Total != rigSize || p.Percent() != 100 {
			t.Errorf("at the end it is at %+v", p)
		}
		if _, err := r.Fetch(t.Context(), f.Key(), nil); !errors.Is(err, ErrSame) {
			t.Errorf("the second time: %v", err)
		}
		if q := r.last(); q.Status != http.StatusNotModified || q.Bytes != 0 {
			t.Errorf("the second time it is asked %+v", q)
		}
	}
}

// Whatever goes wrong has a reason that programs understand and a sentence for people;
// afterwards the same hub gets the model.
func TestWhateverGoesWrongHasAReasonAndPasses(t *testing.T) {
	for f, want := range map[loadertest.Fault]struct {
		reason Reason
		text   string
	}{
		loadertest.Reset:       {Unreachable, "EOF"},
		loadertest.Error500:    {Unavailable, "expected the model, found 500 Internal Server Error: out of order"},
		loadertest.Unavailable: {Unavailable, "found 503 Service Unavailable"},
		loadertest.Gone:        {NotFound, "found 404 Not Found"},
		loadertest.Denied:      {Denied, "found 403 Forbidden: not yours"},
		loadertest.Hang:        {Slow, "nothing came for 300ms"},
		loadertest.Cut:         {Truncated, "50000 of 100000 bytes came"},
		loadertest.Stall:       {Slow, "nothing came for 300ms"},
		loadertest.Damage:      {Mismatch, "expected sha256 "},
		loadertest.Short:       {Mismatch, "of 99999"},
		loadertest.WrongSum:    {Mismatch, "expected sha256 "},
		loadertest.NoSum:       {Mismatch, "expected the SHA-256 of the model, in X-Checksum-Sha256 or Repr-Digest or in http"},
		loadertest.Page:        {Mismatch, "expected the SHA-256 of the model"},
	} {
		t.Run(f.String(), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(s *loadertest.Service) {
				s.RetryAfter = "7"
				s.Fault = func(n int) loadertest.Fault {
					if n == 0 {
						return f
					}
					return loadertest.None
				}
			})
			_, err := r.open(t, ServiceConfig{Timeout: 300 * time.Millisecond}).Fetch(t.Context(), "", nil)
			if reason(err) != want.reason || !strings.Contains(err.Error(), want.text) || !strings.Contains(err.Error(), r.String()) {
				t.Errorf("err = %v (%s), want %q (%s)", err, reason(err), want.text, want.reason)
			}
			if e, _ := errors.AsType[*Error](err); f == loadertest.Unavailable && e.After != 7*time.Second {
				t.Errorf("it is to be left alone for %v", e.After)
			}
			if f := r.fetch(t, ""); !bytes.Equal(f.Bytes, noise(1, rigSize)) {
				t.Error("another model comes")
			}
		})
	}
}

func TestServicesThatOnlyServeSimplyServe(t *testing.T) {
	for _, f := range []loadertest.Fault{loadertest.NoETag, loadertest.NoRange, loadertest.Drip} {
		r := newRig(t, func(s *loadertest.Service) {
			s.DripEvery, s.Fault = time.Millisecond, func(int) loadertest.Fault { return f }
		})
		one := r.fetch(t, "")
		if _, err := r.Fetch(t.Context(), one.Key(), nil); !errors.Is(err, ErrSame) {
			t.Errorf("%v: the second time: %v", f, err)
		}
	}
}

// cutFirst cuts the first n requests short.
func cutFirst(n int, then loadertest.Fault) func(*loadertest.Service) {
	return func(s *loadertest.Service) {
		s.CutAfter = rigSize / 4
		s.Fault = func(k int) loadertest.Fault {
			if k < n {
				return loadertest.Cut
			}
			return then
		}
	}
}

func TestADownloadGoesOnWhereItEnded(t *testing.T) {
	r := newRig(t, cutFirst(3, loadertest.None))
	for i := range 3 {
		if _, err := r.open(t, ServiceConfig{}).Fetch(t.Context(), "", nil); reason(err) != Truncated {
			t.Fatalf("attempt %d: %v", i, err)
		}
	}
	var first Progress
	f, err := r.Fetch(t.Context(), "", func(p Progress) {
		if first.Total == 0 {
			first = p
		}
	})
	if err != nil || !bytes.Equal(f.Bytes, noise(1, rigSize)) || f.Version != "v1" {
		t.Fatalf("%s@%s: %v", f.Name, f.Version, err)
	}
	if first.Done != 3*rigSize/4 || first.Total != rigSize {
		t.Errorf("it goes on at %+v", first)
	}
	if q := r.last(); q.Range != "bytes=75000-" || q.Status != http.StatusPartialContent || q.Bytes != rigSize/4 {
		t.Errorf("it asks %+v", q)
	}
}

func TestAnotherVersionIsNotAppendedToAPart(t *testing.T) {
	r := newRig(t, cutFirst(1, loadertest.None))
	if _, err := r.Fetch(t.Context(), "", nil); reason(err) != Truncated {
		t.Fatal(err)
	}
	r.fake.Put("people", loadertest.Model{Bytes: noise(2, rigSize)})
	if f := r.fetch(t, ""); !bytes.Equal(f.Bytes, noise(2, rigSize)) || r.last().Status != http.StatusOK {
		t.Errorf("the model is another: %+v", r.last())
	}
}

func TestAPartOfAVersionThatIsTakenBackIsRemoved(t *testing.T) {
	r := newRig(t)
	one := r.fetch(t, "")
	r.fake.Fault = func(int) loadertest.Fault { return loadertest.Cut }
	r.fake.Put("people", loadertest.Model{Bytes: noise(2, rigSize)})
	if _, err := r.Fetch(t.Context(), one.Key(), nil); reason(err) != Truncated {
		t.Fatal(err)
	}
	r.fake.Fault = nil
	r.fake.Put("people", loadertest.Model{Bytes: noise(1, rigSize), Version: "v1", Description: `{"labels": ["person"]}`})
	if _, err := r.Fetch(t.Context(), one.Key(), nil); !errors.Is(err, ErrSame) {
		t.Error(err)
	}
	if left, err := filepath.Glob(filepath.Join(r.folder, "*.part*")); err != nil || left != nil {
		t.Errorf("%q are left, %v", left, err)
	}
}

func TestAPartThatIsAnsweredWronglyIsThrownAway(t *testing.T) {
	for _, then := range []loadertest.Fault{loadertest.OtherRange, loadertest.Damage} {
		r := newRig(t, cutFirst(1, loadertest.None))
		if _, err := r.Fetch(t.Context(), "", nil); reason(err) != Truncated {
			t.Fatal(err)
		}
		r.fake.Fault = func(n int) loadertest.Fault { return map[int]loadertest.Fault{1: then}[n] }
		_, err := r.Fetch(t.Context(), "", nil)
		if want := map[loadertest.Fault]Reason{loadertest.OtherRange: Invalid, loadertest.Damage: Mismatch}[then]; reason(err) != want {
			t.Errorf("%v: %v", then, err)
		}
		if f := r.fetch(t, ""); !bytes.Equal(f.Bytes, noise(1, rigSize)) || r.last().Range != "" {
			t.Errorf("%v: then %+v", then, r.last())
		}
	}
}

func TestTheLastGoodVersionIsThereWithoutTheLoader(t *testing.T) {
	r := newRig(t)
	if _, err := r.Last(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before the first: %v", err)
	}
	one := r.fetch(t, "")
	r.at.Close()
	later := r.open(t, ServiceConfig{})
	if _, err := later.Fetch(t.Context(), "", nil); reason(err) != Unreachable {
		t.Errorf("without a Loader: %v", err)
	}
	f, err := later.Last()
	if err != nil || f.Key() != one.Key() || f.Version != "v1" || !bytes.Equal(f.Bytes, one.Bytes) || f.Description == nil {
		t.Errorf("got %s@%s, %v", f.Name, f.Version, err)
	}
}

func TestADescriptionThatChangesIsANewVersionWithoutADownload(t *testing.T) {
	r := newRig(t)
	one := r.fetch(t, "")
	r.fake.Put("people", loadertest.Model{Bytes: noise(1, rigSize), Version: "v1", Description: `{"labels": ["human"]}`})
	two := r.fetch(t, one.Key())
	if two.Description.Labels[0] != "human" || two.Key() == one.Key() || two.SHA256 != one.SHA256 || r.last().Bytes != 0 {
		t.Errorf("got %v by %+v", two.Description, r.last())
	}
	r.fake.Put("people", loadertest.Model{Bytes: noise(1, rigSize), Version: "v1", Description: `{"labls": ["human"]}`})
	if _, err := r.Fetch(t.Context(), two.Key(), nil); reason(err) != Invalid || !strings.Contains(err.Error(), `people.json: description: there is no setting "labls"`) {
		t.Errorf("a description that is none: %v", err)
	}
	r.fake.Put("people", loadertest.Model{Bytes: noise(1, rigSize), Version: "v1"})
	if f := r.fetch(t, two.Key()); f.Description != nil || f.Key() != f.SHA256 {
		t.Errorf("without a description: %v", f.Description)
	}
}

func TestTwoVersionsAreKeptAndThoseInUse(t *testing.T) {
	r := newRig(t)
	used := ""
	r.Service = r.open(t, ServiceConfig{InUse: func(sum string) bool { return sum == used }})
	var all []File
	have := ""
	for v := range uint64(4) {
		r.fake.Put("people", loadertest.Model{Bytes: noise(v, rigSize), Version: fmt.Sprint("v", v)})
		f := r.fetch(t, have)
		all, have = append(all, f), f.Key()
		used = all[0].SHA256
	}
	for i, want := range []bool{true, false, true, true} {
		if _, err := os.Stat(all[i].Path); (err == nil) != want {
			t.Errorf("version %d: %v", i, err)
		}
	}
	r.fake.Put("people", loadertest.Model{Bytes: noise(2, rigSize), Version: "v2 again"})
	f := r.fetch(t, have)
	if f.Version != "v2 again" || f.SHA256 != all[2].SHA256 || r.last().Status != http.StatusOK {
		t.Errorf("back to v2: %s", f.Version)
	}
}

func TestModelsOfOtherNamesAreLeftAlone(t *testing.T) {
	r := newRig(t)
	r.fake.Put("cars", loadertest.Model{Bytes: noise(9, rigSize)})
	cars, err := NewService(ServiceConfig{URL: r.at.URL, Name: "cars", Folder: r.folder, HTTP: r.at.Client()})
	if err != nil {
		t.Fatal(err)
	}
	other, err := cars.Fetch(t.Context(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	have := ""
	for v := range uint64(4) {
		r.fake.Put("people", loadertest.Model{Bytes: noise(v, rigSize)})
		have = new(r.fetch(t, have)).Key()
	}
	if _, err := os.Stat(other.Path); err != nil {
		t.Error(err)
	}
	// A list of versions that cannot be read is as good as none.
	if err := os.WriteFile(r.store.index(), []byte("["), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Last(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a list that cannot be read: %v", err)
	}
	if f := r.fetch(t, ""); f.Key() != have {
		t.Errorf("then %s comes", f.Key())
	}
}

func TestAModelThatRotsOnDiskIsFetchedAgain(t *testing.T) {
	r := newRig(t)
	f := r.fetch(t, "")
	if err := os.WriteFile(f.Path, []byte("rot"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Last(); err == nil {
		t.Error("what rots is offered")
	}
	if again := r.fetch(t, ""); !bytes.Equal(again.Bytes, f.Bytes) {
		t.Error("it is not fetched again")
	}
}

func TestADiskWithoutRoomIsNotFilled(t *testing.T) {
	r := newRig(t)
	r.free = func(string) (int64, error) { return reserve + rigSize - 1, nil }
	if _, err := r.Fetch(t.Context(), "", nil); reason(err) != NoSpace || !strings.Contains(err.Error(), "the model has 100000 bytes") {
		t.Errorf("err = %v", err)
	}
	r.free = free
	r.fetch(t, "")
	// The disk may fill up meanwhile.
	d, err := r.store.resume(r.String())
	if err != nil {
		t.Fatal(err)
	}
	defer d.file.Close()
	if err := errors.Join(d.restart(partial{URL: r.String(), ETag: `"a"`, Size: 10})); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Write([]byte("part")); err != nil {
		t.Fatal(err)
	}
	if err := r.unwritten(d, &fs.PathError{Op: "write", Path: "p", Err: syscall.ENOSPC}); reason(err) != NoSpace {
		t.Errorf("err = %v", err)
	}
	if st, err := d.file.Stat(); err != nil || st.Size() != 0 {
		t.Errorf("the part still takes room: %v", err)
	}
}

func TestOneProcessDownloadsAtATime(t *testing.T) {
	r := newRig(t)
	d, err := r.store.resume(r.String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Fetch(t.Context(), "", nil); reason(err) != Storage || !strings.Contains(err.Error(), "another process downloads") {
		t.Errorf("err = %v", err)
	}
	if err := d.file.Close(); err != nil {
		t.Fatal(err)
	}
	r.fetch(t, "")
}

func TestTheTokenIsNewForEachRequestAndNeverShown(t *testing.T) {
	r := newRig(t, func(s *loadertest.Service) { s.Tokens = func(t string) bool { return t == "second-secret" } })
	n := 0
	s := r.open(t, ServiceConfig{Token: func(context.Context) (string, error) {
		n++
		return map[bool]string{true: "first-secret", false: "second-secret"}[n == 1], nil
	}})
	_, err := s.Fetch(t.Context(), "", nil)
	if reason(err) != Denied || strings.Contains(err.Error(), "secret") {
		t.Errorf("err = %v", err)
	}
	if _, err := s.Fetch(t.Context(), "", nil); err != nil {
		t.Error(err)
	}
	s = r.open(t, ServiceConfig{Token: func(context.Context) (string, error) { return "", errors.New("no such file") }})
	if _, err := s.Fetch(t.Context(), "", nil); reason(err) != Denied {
		t.Errorf("without the file: %v", err)
	}
}

func TestAFetchEndsWithItsContext(t *testing.T) {
	r := newRig(t, func(s *loadertest.Service) { s.Fault = func(int) loadertest.Fault { return loadertest.Stall } })
	ctx, cancel := context.WithCancelCause(t.Context())
	over := errors.New("the hub stops")
	_, err := r.Fetch(ctx, "", func(p Progress) {
		if p.Done == rigSize/2 {
			cancel(over)
		}
	})
	if !errors.Is(err, over) {
		t.Errorf("err = %v", err)
	}
}

func TestADownloadHasNoSecondCopyInMemory(t *testing.T) {
	const size = 32 << 20
	r := newRig(t, func(s *loadertest.Service) { s.Put("people", loadertest.Model{Bytes: make([]byte, size)}) })
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f := r.fetch(t, "")
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; len(f.Bytes) != size || got > size+size/4 {
		t.Errorf("%d MiB are allocated for a model of %d", got>>20, size>>20)
	}
}

func TestAServiceThatMakesNoSenseIsRefused(t *testing.T) {
	for _, c := range []struct {
		config ServiceConfig
		want   string
	}{
		{ServiceConfig{URL: "loader:80", Name: "people"}, "expected a URL such as"},
		{ServiceConfig{URL: "https://me:secret@loader", Name: "people"}, "without a query or a password"},
		{ServiceConfig{URL: "http://loader", Name: "../people"}, "expected a model's name"},
		{ServiceConfig{URL: "http://loader"}, "expected a model's name"},
		{ServiceConfig{URL: "http://loader", Name: "people", Path: "models?n={name}"}, "expected a path such as /models/{name}"},
	} {
		if _, err := NewService(c.config); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("err = %v, want %q", err, c.want)
		}
	}
	s, err := NewService(ServiceConfig{URL: "http://loader/api/", Name: "people", Path: "/v2/{name}.onnx"})
	if err != nil || s.String() != "http://loader/api/v2/people.onnx" || s.beside(".json") != "http://loader/api/v2/people.json" {
		t.Errorf("%v, %v", s, err)
	}
}

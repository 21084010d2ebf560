package loader

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"detections/infer/loader/loadertest"
)

const (
	person = `[{"id": 0, "name": "person"}]`
	strict = `[{"id": 0, "name": "person", "threshold": 0.8}]`
)

func TestClassesAreReadBesideAModelAndWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		model, list := filepath.Join(dir, "people.onnx"), filepath.Join(dir, "classes.json")
		write(t, model, "abc", 0)
		for _, path := range []string{model, dir} {
			s := WithClasses(Disk(path), "")
			have := ""
			take := func(what string) File {
				t.Helper()
				f, err := s.Fetch(t.Context(), have, nil)
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				have = f.Key()
				if _, err := s.Fetch(t.Context(), have, nil); !errors.Is(err, ErrSame) {
					t.Errorf("%s, again: %v", what, err)
				}
				return f
			}
			if f := take("without"); f.Description != nil || f.Key() != f.SHA256 {
				t.Errorf("without: %+v", f.Description)
			}
			write(t, list, person, 0)
			one := take("they come")
			write(t, list, strict, 1)
			if two := take("they change"); two.Key() == one.Key() || two.SHA256 != one.SHA256 || two.Description.Classes == nil || string(two.Bytes) != "abc" {
				t.Errorf("they change: %+v", two)
			}
			write(t, list, strings.Replace(strict, "0.8", "8", 1), 2)
			if _, err := s.Fetch(t.Context(), have, nil); reason(err) != Invalid || !strings.Contains(err.Error(), list+": class 1 of the list: threshold of class 0: expected 0.01 to 1, found 8") {
				t.Errorf("they make no sense: %v", err)
			}
			if err := os.Remove(list); err != nil {
				t.Fatal(err)
			}
			if f := take("they go"); f.Description != nil {
				t.Errorf("they go: %+v", f.Description)
			}
		}
	})
}

func TestClassesThatAreAskedForMustBeThere(t *testing.T) {
	s := WithClasses(EmbeddedSource(), filepath.Join(t.TempDir(), "classes.json"))
	if _, err := s.Fetch(t.Context(), "", nil); reason(err) != NotFound || !strings.Contains(err.Error(), "classes.json: no such file") {
		t.Errorf("err = %v", err)
	}
	if _, ok := WithClasses(EmbeddedSource(), "").(*classed); ok {
		t.Error("beside the embedded model there is nothing")
	}
}

// Other classes hold at once, whether the Loader is there or not, without a download.
func TestClassesChangeWithoutTheLoader(t *testing.T) {
	r := newRig(t, func(s *loadertest.Service) {
		s.Put("people", loadertest.Model{Bytes: noise(1, rigSize), Description: `{"head": "yolox"}`})
	})
	list := filepath.Join(t.TempDir(), "classes.json")
	write(t, list, person, 0)
	s := WithClasses(r.Service, list)
	one, err := s.Fetch(t.Context(), "", nil)
	if err != nil || one.Description.Head != "yolox" || one.Description.Classes == nil {
		t.Fatalf("%+v, %v", one.Description, err)
	}
	r.at.Close()
	write(t, list, strict, 1)
	two, err := s.Fetch(t.Context(), one.Key(), nil)
	if err != nil || two.Key() == one.Key() || two.SHA256 != one.SHA256 || two.Description.Head != "yolox" {
		t.Fatalf("%+v, %v", two.Description, err)
	}
	if _, err := s.Fetch(t.Context(), two.Key(), nil); reason(err) != Unreachable {
		t.Errorf("then: %v", err)
	}
	later := WithClasses(r.open(t, ServiceConfig{}), list).(Keeper)
	if f, err := later.Last(); err != nil || f.Key() != two.Key() {
		t.Errorf("at the next start: %v, %v", f.Key(), err)
	}
}

package loader

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// folder has files with the given contents.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestAFileHasTheDescriptionBesideIt(t *testing.T) {
	dir := folder(t, map[string]string{
		"people.onnx": "abc", "cars.onnx": "def",
		"people.json": `{"version": "3", "labels": ["person"]}`, "model.json": `{"name": "vehicles", "head": "yolox"}`,
	})
	people, err := ReadFile(filepath.Join(dir, "people.onnx"))
	if err != nil || people.Name != "people" || people.Version != "3" || people.Description.Labels[0] != "person" || string(people.Bytes) != "abc" {
		t.Errorf("got %+v, %v", people, err)
	}
	if want := "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; people.SHA256 != want { // of abc
		t.Errorf("sha256 %s, want %s", people.SHA256, want)
	}
	cars, err := ReadFile(filepath.Join(dir, "cars.onnx"))
	if err != nil || cars.Name != "vehicles" || cars.Version != cars.SHA256[:12] || cars.Description.Head != "yolox" {
		t.Errorf("got %+v, %v", cars, err)
	}
	alone := folder(t, map[string]string{"people.onnx": "abc"})
	if f, err := ReadFile(filepath.Join(alone, "people.onnx")); err != nil || f.Description != nil {
		t.Errorf("got %+v, %v", f, err)
	}
}

func TestAFileThatIsNoneIsExplained(t *testing.T) {
	dir := folder(t, map[string]string{"a.onnx": "abc", "a.json": "{", "b.onnx": "abc", "b.json": `{"hed": "yolox"}`})
	for name, want := range map[string]string{
		"none.onnx": "no such file",
		"":          "is not a file",
		"a.onnx":    "a.json: description: expected a JSON object, found the end of the file",
		"b.onnx":    `b.json: description: there is no setting "hed"; docs/models.md lists them`,
	} {
		if _, err := ReadFile(filepath.Join(dir, name)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: err = %v, want %q", name, err, want)
		}
	}
}

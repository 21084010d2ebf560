package main

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"detections/infer"
)

// schema is as much of a JSON Schema as the page has.
type schema struct {
	Properties map[string]*schema
	Enum       []string
	Additional *bool `json:"additionalProperties"`
}

// fields are the settings of a part of a description.
func fields(t reflect.Type) map[string]reflect.Type {
	all := map[string]reflect.Type{}
	for field := range t.Fields() {
		if name := field.Tag.Get("json"); name != "" && name != "-" {
			all[name] = field.Type
		}
	}
	return all
}

// The schema in docs/models.md has the settings that the program knows, and no others.
func TestTheSchemaOfDescriptionsIsTheCodes(t *testing.T) {
	page, err := os.ReadFile(docs + "/models.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "<!-- schema -->\n```json\n")
	text, _, _ := strings.Cut(rest, "```")
	var s schema
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	compare := func(s *schema, typ reflect.Type) {
		t.Helper()
		want, got := slices.Sorted(maps.Keys(fields(typ))), slices.Sorted(maps.Keys(s.Properties))
		if !slices.Equal(want, got) || s.Additional == nil || *s.Additional {
			t.Errorf("%v has the settings\n%v, the page\n%v", typ, want, got)
		}
	}
	d := reflect.TypeFor[infer.Description]()
	compare(&s, d)
	compare(s.Properties["input"], fields(d)["input"])
	compare(s.Properties["output"], fields(d)["output"])
	var heads []string
	for _, f := range infer.Families() {
		heads = append(heads, f[0])
		if !strings.Contains(string(page), "| `"+f[0]+"`") {
			t.Errorf("the table has no row of %s", f[0])
		}
	}
	if !slices.Equal(s.Properties["head"].Enum, heads) {
		t.Errorf("heads are %q, the page has %q", heads, s.Properties["head"].Enum)
	}
}

// Every value that the schema allows is one that the program takes, and the examples
// of the page are descriptions.
func TestTheExamplesOfDescriptionsAreRight(t *testing.T) {
	page, err := os.ReadFile(docs + "/models.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, m := range regexp.MustCompile("(?s)```json\n(.*?)```|`(\\{\"(?:labels|head)\".*?\\})`").FindAllStringSubmatch(string(page), -1) {
		text := m[1] + m[2]
		if strings.Contains(text, "$schema") {
			continue
		}
		if strings.HasPrefix(text, "[") { // classes.json
			if _, err := infer.ParseClasses([]byte(text), "classes.json"); err != nil {
				t.Errorf("%s: %v", text, err)
			}
			continue
		}
		if _, err := infer.ParseDescription([]byte(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		n++
	}
	if n != 5 {
		t.Errorf("%d examples, want 5", n)
	}
	_, rest, _ := strings.Cut(string(page), "<!-- schema -->\n```json\n")
	text, _, _ := strings.Cut(rest, "```")
	var s schema
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	for part, p := range s.Properties {
		for name, setting := range p.Properties {
			for _, v := range setting.Enum {
				b, _ := json.Marshal(map[string]any{part: map[string]string{name: v}})
				if _, err := infer.ParseDescription(b); err != nil {
					t.Errorf("%s: %v", b, err)
				}
			}
		}
	}
}

package web

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"detections/session/wire"
)

var update = flag.Bool("update", false, "write the reference anew")

func TestTheReferenceIsWhatTheCodeSays(t *testing.T) {
	for name, want := range built(t) {
		path := filepath.Join("page", "static", name)
		if *update {
			if err := os.WriteFile(path, want, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the code says (%v); run: go test ./web -run Reference -update", path, err)
		}
	}
}

func TestEveryRouteIsInTheReference(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range (&Server{cfg: Config{Metrics: NewMetrics("")}}).table() {
		seen[r.pattern] = true
		if _, ok := calls[r.pattern]; !ok && !slices.Contains(pages, r.pattern) {
			t.Errorf("%s is not in the reference", r.pattern)
		}
	}
	for pattern := range calls {
		if !seen[pattern] {
			t.Errorf("the reference has %s, which is no route", pattern)
		}
	}
}

// TestEveryParameterIsInTheReference reads which parameters the code looks at.
func TestEveryParameterIsInTheReference(t *testing.T) {
	read := map[string]bool{"labels": true, "ticket": true} // all values of the one; web/auth reads the other
	files, _ := filepath.Glob("*.go")
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if c, ok := n.(*ast.CallExpr); ok && len(c.Args) == 1 {
				if name, ok := parameterOf(c); ok {
					read[name] = true
				}
			}
			return true
		})
	}
	told := map[string]bool{}
	for _, c := range calls {
		for _, name := range c.query {
			told[name] = true
		}
	}
	if !maps.Equal(read, told) {
		t.Errorf("the code reads %v, the reference has %v", slices.Sorted(maps.Keys(read)), slices.Sorted(maps.Keys(told)))
	}
}

// parameterOf is the parameter that a call reads.
func parameterOf(c *ast.CallExpr) (string, bool) {
	fun, ok := c.Fun.(*ast.SelectorExpr)
	lit, isLit := c.Args[0].(*ast.BasicLit)
	if !ok || !isLit || !slices.Contains([]string{"Get", "number", "boolean"}, fun.Sel.Name) {
		return "", false
	}
	if x, ok := fun.X.(*ast.SelectorExpr); ok && x.Sel.Name == "Header" {
		return "", false
	}
	if x, ok := fun.X.(*ast.CallExpr); ok {
		if s, ok := x.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Header" {
			return "", false
		}
	}
	name, err := strconv.Unquote(lit.Value)
	return name, err == nil && name == strings.ToLower(name)
}

func TestMessagesKeepToTheirSchemas(t *testing.T) {
	src, err := readSources()
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(indented(asyncapi(t, src)), &doc); err != nil {
		t.Fatal(err)
	}
	components := doc["components"].(map[string]any)
	list, named := components["messages"].(map[string]any), components["schemas"].(map[string]any)
	for _, kind := range append(src.enums["wire.Type"], clientTypes(t)...) {
		if list[kind] == nil {
			t.Errorf("there is no message %s", kind)
		}
	}
	try := func(kind string, text []byte) {
		var v any
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		schema := list[kind].(map[string]any)["payload"].(map[string]any)
		if err := check(schema, named, v, kind); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	}
	for kind, text := range said {
		try(kind, []byte(text))
	}
	for _, m := range told {
		var head struct{ Type string }
		_ = json.Unmarshal(wire.Encode(m), &head)
		try(head.Type, wire.Encode(m))
		empty := reflect.New(reflect.TypeOf(m).Elem())
		fill(empty.Elem(), src)
		empty.Elem().FieldByName("Type").SetString(head.Type)
		try(head.Type, wire.Encode(empty.Interface()))
	}
}

// fill gives every field a value that is not its zero.
func fill(v reflect.Value, src *sources) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), src)
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(field, src)
		}
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[json.RawMessage]() {
			v.SetBytes([]byte("[1]"))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), src)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("x").Convert(v.Type().Key()), reflect.ValueOf(int64(1)).Convert(v.Type().Elem()))
	case reflect.String:
		v.SetString("x")
		if values := src.enums[shortName(v.Type())]; len(values) > 0 {
			v.SetString(values[0])
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(1_000_000)
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(1)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(0.5)
	}
}

func TestTheReferenceHasTheCodesOfErrors(t *testing.T) {
	doc, err := os.ReadFile("../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	var written []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\|").FindAllSubmatch(doc, -1) {
		written = append(written, string(m[1]))
	}
	for _, name := range []string{"openapi.json", "asyncapi.json"} {
		text, err := os.ReadFile(filepath.Join("page", "static", name))
		if err != nil {
			t.Fatal(err)
		}
		var d struct {
			Components struct {
				Schemas struct{ Code struct{ Enum []string } }
			}
		}
		if err := json.Unmarshal(text, &d); err != nil || !slices.Equal(d.Components.Schemas.Code.Enum, written) {
			t.Errorf("%s has %v, docs/errors.md %v (%v)", name, d.Components.Schemas.Code.Enum, written, err)
		}
	}
}

func TestTheBudgetOfALiveSessionCanBeInTheQuery(t *testing.T) {
	if m, err := startOf(url.Values{"budget_ms": {"500"}}); err != nil || m.BudgetMS != 500 {
		t.Errorf("%d, %v", m.BudgetMS, err)
	}
	for _, bad := range []string{"-1", "60001", "1e300", "soon"} {
		if _, err := startOf(url.Values{"budget_ms": {bad}}); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

package web

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"detections/session/wire"
)

// object is a JSON object whose members keep their order.
type object []member

type member struct {
	name  string
	value any
}

func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		name, _ := json.Marshal(m.name)
		b.Write(append(name, ':'))
		var value bytes.Buffer
		e := json.NewEncoder(&value)
		e.SetEscapeHTML(false)
		if err := e.Encode(m.value); err != nil {
			return nil, err
		}
		b.Write(bytes.TrimSpace(value.Bytes()))
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func (o object) get(name string) any {
	for _, m := range o {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

// sources is what the code says of its types: comments, and the constants of each.
type sources struct {
	about map[string]string   // of "wire.Timing" and "wire.Timing.Queue"
	enums map[string][]string // of "wire.Mode"
}

// described are the folders whose types clients see.
var described = []string{"../session/wire", "../infer", "../hub", "../hub/outbox", "../media", "../media/worker/sandbox", "."}

func readSources() (*sources, error) {
	s := &sources{map[string]string{}, map[string][]string{}}
	for _, dir := range described {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			return nil, err
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
			if err != nil {
				return nil, err
			}
			for _, d := range f.Decls {
				if g, ok := d.(*ast.GenDecl); ok {
					s.read(f.Name.Name, g)
				}
			}
		}
	}
	return s, nil
}

func (s *sources) read(pkg string, g *ast.GenDecl) {
	for _, spec := range g.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			name := pkg + "." + spec.Name.Name
			s.about[name] = sentence(g.Doc, spec.Doc, spec.Comment)
			if st, ok := spec.Type.(*ast.StructType); ok {
				for _, f := range st.Fields.List {
					for _, n := range f.Names {
						s.about[name+"."+n.Name] = sentence(f.Doc, f.Comment)
					}
				}
			}
		case *ast.ValueSpec:
			kind, ok := spec.Type.(*ast.Ident)
			if g.Tok != token.CONST || !ok {
				continue
			}
			for _, v := range spec.Values {
				if lit, ok := v.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					text, _ := strconv.Unquote(lit.Value)
					s.enums[pkg+"."+kind.Name] = append(s.enums[pkg+"."+kind.Name], text)
				}
			}
		}
	}
}

func sentence(groups ...*ast.CommentGroup) string {
	var all []string
	for _, g := range groups {
		if text := strings.Join(strings.Fields(g.Text()), " "); text != "" {
			all = append(all, text)
		}
	}
	return strings.Join(all, " ")
}

// schemas makes JSON Schemas of Go types, and keeps the named ones.
type schemas struct {
	*sources
	prefix string // of references
	named  map[string]object
}

// plain are types that look otherwise in JSON than in Go.
var plain = map[reflect.Type]object{
	reflect.TypeFor[wire.Millis]():     {{"type", "number"}, {"format", "ms"}},
	reflect.TypeFor[wire.Decimal]():    {{"type", "number"}},
	reflect.TypeFor[wire.Pixels]():     {{"type", "number"}, {"format", "px"}},
	reflect.TypeFor[time.Time]():       {{"type", "string"}, {"format", "date-time"}},
	reflect.TypeFor[time.Duration]():   {{"type", "integer"}, {"format", "ns"}},
	reflect.TypeFor[json.RawMessage](): {},
}

func (s *schemas) of(t reflect.Type) object {
	if o, ok := plain[t]; ok {
		return o
	}
	name := shortName(t)
	if values := s.enums[name]; t.Kind() == reflect.String && len(values) > 0 {
		if t == reflect.TypeFor[wire.Code]() {
			return s.codes()
		}
		return object{{"type", "string"}, {"enum", values}}
	}
	if t.Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
		return object{{"type", "string"}}
	}
	if t.Kind() != reflect.Pointer && t.Implements(reflect.TypeFor[json.Marshaler]()) {
		panic("how does " + name + " look in JSON?")
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.Bool:
		return object{{"type", "boolean"}}
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint8, reflect.Uint32, reflect.Uint64:
		return object{{"type", "integer"}}
	case reflect.Float32, reflect.Float64:
		return object{{"type", "number"}}
	case reflect.String:
		return object{{"type", "string"}}
	case reflect.Slice:
		return object{{"type", []string{"array", "null"}}, {"items", s.of(t.Elem())}}
	case reflect.Array:
		return object{{"type", "array"}, {"items", s.of(t.Elem())}, {"minItems", t.Len()}, {"maxItems", t.Len()}}
	case reflect.Map:
		return object{{"type", []string{"object", "null"}}, {"additionalProperties", s.of(t.Elem())}}
	case reflect.Struct:
		if name == "" || strings.HasSuffix(name, ".") {
			return s.structure(t)
		}
		title := titleOf(t)
		if s.named[title] == nil {
			s.named[title] = object{} // it may refer to itself
			s.named[title] = s.structure(t)
		}
		return object{{"$ref", s.prefix + title}}
	}
	panic("no schema of " + t.String())
}

func shortName(t reflect.Type) string {
	parts := strings.Split(t.PkgPath(), "/")
	return parts[len(parts)-1] + "." + t.Name()
}

// titleOf is a type's name without the words of our house.
func titleOf(t reflect.Type) string {
	name := strings.ToUpper(t.Name()[:1]) + t.Name()[1:]
	if parts := strings.Split(t.PkgPath(), "/"); parts[len(parts)-1] == "outbox" {
		return "Outbox" + name
	}
	return name
}

func (s *schemas) codes() object {
	var all []string
	for _, e := range wire.Errors {
		all = append(all, string(e.Code))
	}
	s.named["Code"] = object{{"type", "string"}, {"description", "What went wrong."}, {"enum", all}}
	return object{{"$ref", s.prefix + "Code"}}
}

// structure is the schema of a struct, with the fields of those that it embeds.
func (s *schemas) structure(t reflect.Type) object {
	var properties object
	var required []string
	s.fields(t, &properties, &required)
	o := object{{"type", "object"}}
	if about := s.about[shortName(t)]; about != "" {
		about = strings.TrimPrefix(strings.TrimPrefix(about, t.Name()+" "), "is ")
		o = append(o, member{"description", strings.ToUpper(about[:1]) + about[1:]})
	}
	if len(required) > 0 {
		o = append(o, member{"required", required})
	}
	return append(o, member{"properties", properties})
}

func (s *schemas) fields(t reflect.Type, properties *object, required *[]string) {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported() && !f.Anonymous:
			continue
		case f.Anonymous && name == "":
			inner := f.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			s.fields(inner, properties, required)
			continue
		case name == "":
			name = f.Name
		}
		value := s.of(f.Type)
		if about := s.about[shortName(t)+"."+f.Name]; about != "" {
			value = append(slices.Clone(value), member{"description", about})
		}
		*properties = append(*properties, member{name, value})
		if options == "" {
			*required = append(*required, name)
		}
	}
}

// list is the named schemas by name.
func (s *schemas) list() (o object) {
	for _, name := range slices.Sorted(maps.Keys(s.named)) {
		o = append(o, member{name, s.named[name]})
	}
	return o
}

// check says what a value, as JSON has it, has that its schema has not.
func check(schema map[string]any, named map[string]any, v any, at string) error {
	if ref, ok := schema["$ref"].(string); ok {
		name := ref[strings.LastIndex(ref, "/")+1:]
		found, ok := named[name].(map[string]any)
		if !ok {
			return fmt.Errorf("%s: there is no schema %s", at, name)
		}
		return check(found, named, v, at)
	}
	if c, ok := schema["const"]; ok && c != v {
		return fmt.Errorf("%s: %v is not %v", at, v, c)
	}
	if enum, ok := schema["enum"].([]any); ok && !slices.Contains(enum, v) {
		return fmt.Errorf("%s: %v is none of %v", at, v, enum)
	}
	if !hasType(schema["type"], v) {
		return fmt.Errorf("%s: %v is no %v", at, v, schema["type"])
	}
	switch v := v.(type) {
	case map[string]any:
		return checkObject(schema, named, v, at)
	case []any:
		items, _ := schema["items"].(map[string]any)
		for i, item := range v {
			if err := check(items, named, item, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkObject(schema, named map[string]any, v map[string]any, at string) error {
	required, _ := schema["required"].([]any)
	for _, name := range required {
		if _, ok := v[name.(string)]; !ok {
			return fmt.Errorf("%s: there is no %v", at, name)
		}
	}
	properties, _ := schema["properties"].(map[string]any)
	for name, value := range v {
		field, ok := properties[name].(map[string]any)
		if !ok {
			// Other fields are allowed by the schemas, because clients are to ignore them; ours are all there.
			if field, ok = schema["additionalProperties"].(map[string]any); !ok && schema["type"] != nil {
				return fmt.Errorf("%s: %s is not in the schema", at, name)
			}
		}
		if err := check(field, named, value, at+"."+name); err != nil {
			return err
		}
	}
	return nil
}

func hasType(want, v any) bool {
	switch want := want.(type) {
	case []any:
		return slices.ContainsFunc(want, func(w any) bool { return hasType(w, v) })
	case string:
		switch v := v.(type) {
		case nil:
			return want == "null"
		case bool:
			return want == "boolean"
		case string:
			return want == "string"
		case float64:
			return want == "number" || want == "integer" && v == float64(int64(v))
		case []any:
			return want == "array"
		case map[string]any:
			return want == "object"
		}
	}
	return want == nil
}

package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"detections/session/wire"
)

// clientTypes are the types that wire.ParseClient offers.
func clientTypes(t *testing.T) []string {
	t.Helper()
	_, err := wire.ParseClient([]byte(`{"type":"?"}`))
	list := regexp.MustCompile(`\[(.*)\]`).FindStringSubmatch(err.Error())
	if list == nil {
		t.Fatal(err)
	}
	return strings.Fields(list[1])
}

// messages are the schemas of messages, and an example of each.
func messages(t *testing.T, s *schemas) (client, hub, examples object) {
	t.Helper()
	typed := func(kind string, m any, example json.RawMessage) object {
		o := s.structure(reflect.TypeOf(m))
		for i := range o {
			if o[i].name == "properties" {
				fields := slices.DeleteFunc(slices.Clone(o[i].value.(object)), func(f member) bool { return f.name == "type" })
				o[i].value = append(object{{"type", object{{"type", "string"}, {"const", kind}}}}, fields...)
			}
		}
		required, _ := o.get("required").([]string)
		required = append([]string{"type"}, slices.DeleteFunc(slices.Clone(required), func(n string) bool { return n == "type" })...)
		o = slices.DeleteFunc(o, func(m member) bool { return m.name == "required" })
		examples = append(examples, member{kind, example})
		return slices.Insert(o, len(o)-1, member{"required", required})
	}
	for _, kind := range clientTypes(t) {
		m, err := wire.ParseClient([]byte(said[kind]))
		if err != nil {
			t.Errorf("the example of %s: %v", kind, err)
			continue
		}
		client = append(client, member{kind, typed(kind, reflect.Indirect(reflect.ValueOf(m)).Interface(), json.RawMessage(said[kind]))})
	}
	for _, m := range told {
		text := wire.Encode(m)
		var head struct{ Type string }
		if err := json.Unmarshal(text, &head); err != nil {
			t.Fatal(err)
		}
		hub = append(hub, member{head.Type, typed(head.Type, reflect.ValueOf(m).Elem().Interface(), text)})
	}
	return client, hub, examples
}

// asyncapi is the document of what is said over the WebSocket and the data channel.
func asyncapi(t *testing.T, src *sources) object {
	t.Helper()
	s := &schemas{src, "#/components/schemas/", map[string]object{}}
	client, hub, examples := messages(t, s)
	var sent, all object
	operation := func(action, channel string, list object) object {
		var refs []object
		for _, m := range list {
			refs = append(refs, object{{"$ref", "#/channels/" + channel + "/messages/" + m.name}})
		}
		return object{{"action", action}, {"channel", object{{"$ref", "#/channels/" + channel}}}, {"messages", refs}}
	}
	for _, m := range append(slices.Clone(client), hub...) {
		sent = append(sent, member{m.name, object{{"$ref", "#/components/messages/" + m.name}}})
		all = append(all, member{m.name, object{
			{"name", m.name}, {"contentType", typeJSON}, {"payload", m.value}, {"examples", []object{{{"payload", examples.get(m.name)}}}},
		}})
	}
	onChannel := slices.DeleteFunc(slices.Clone(client), func(m member) bool { return !slices.Contains([]string{"eof", "configure", "cancel", "ping"}, m.name) })
	toChannel := slices.DeleteFunc(slices.Clone(hub), func(m member) bool { return m.name == "ack" })
	return object{
		{"asyncapi", "3.0.0"},
		{"info", object{{"title", "Detections: messages"}, {"version", "1"}, {"description", "What a client and the hub say to each other, one JSON object a message, over a WebSocket or a data channel of the subprotocol detections.v1. Binary messages are media. Types and fields that are not known are to be ignored."}}},
		{"channels", object{
			{"socket", object{{"address", socketPath}, {"description", "The WebSocket. Media goes up as binary messages."}, {"messages", sent}}},
			{"data", object{{"address", wire.Subprotocol}, {"description", "The data channel of a WebRTC connection, which the client opens. Media goes up as a video track."}, {"messages", sent}}},
		}},
		{"operations", object{
			{"say", operation("receive", "socket", client)},
			{"tell", operation("send", "socket", hub)},
			{"sayOnData", operation("receive", "data", onChannel)},
			{"tellOnData", operation("send", "data", toChannel)},
		}},
		{"components", object{{"messages", all}, {"schemas", s.list()}}},
	}
}

// openapi is the document of the HTTP doors.
func openapi(src *sources, table []route) object {
	s := &schemas{src, "#/components/schemas/", map[string]object{}}
	failure := object{{"description", "A problem (RFC 9457); docs/errors.md has its codes."}, {"content", object{{typeProblem, object{{"schema", s.of(reflect.TypeFor[problem]())}}}}}}
	byPath := map[string]object{}
	for _, r := range table {
		c, ok := calls[r.pattern]
		if !ok {
			continue
		}
		method, path, _ := strings.Cut(r.pattern, " ")
		byPath[path] = append(byPath[path], member{strings.ToLower(method), s.call(r, c)})
	}
	var paths object
	for _, path := range slices.Sorted(maps.Keys(byPath)) {
		paths = append(paths, member{path, byPath[path]})
	}
	return object{
		{"openapi", "3.1.0"},
		{"info", object{{"title", "Detections: HTTP"}, {"version", "1"}, {"description", "Every answer that is no success is application/problem+json with a code. Without authentication every call is open."}}},
		{"security", []object{{{"bearer", []string{}}}, {}}},
		{"paths", paths},
		{"components", object{
			{"securitySchemes", object{{"bearer", object{{"type", "http"}, {"scheme", "bearer"}, {"description", "An API key or a JSON Web Token."}}}}},
			{"responses", object{{"problem", failure}}},
			{"schemas", s.list()},
		}},
	}
}

// call is an operation.
func (s *schemas) call(r route, c call) object {
	o := object{{"summary", c.does}}
	if r.role != open {
		o = append(o, member{"description", "Takes the role " + fmt.Sprint(r.role) + "."})
	} else {
		o = append(o, member{"security", []object{{}}})
	}
	var list []object
	add := func(name, in string, required bool) {
		p := parameters[name]
		list = append(list, object{{"name", name}, {"in", in}, {"required", required}, {"description", p.about}, {"schema", object{{"type", p.kind}}}})
	}
	for _, m := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(r.pattern, -1) {
		add(m[1], "path", true)
	}
	for _, name := range c.query {
		add(name, "query", false)
	}
	if list != nil {
		o = append(o, member{"parameters", list})
	}
	content := func(kinds []string, v any) (o object) {
		for _, kind := range kinds {
			var schema object
			if v != nil && kind == typeJSON {
				schema = object{{"schema", s.of(reflect.TypeOf(v))}}
			}
			o = append(o, member{kind, schema})
		}
		return o
	}
	if c.body != nil {
		o = append(o, member{"requestBody", object{{"content", content(c.body, c.request)}}})
	}
	answer := object{{"description", "It went well."}}
	if c.answers != nil {
		answer = append(answer, member{"content", content(c.answers, c.answer)})
	}
	answers := object{{c.status, answer}}
	for _, status := range slices.Sorted(maps.Keys(c.more)) {
		answers = append(answers, member{status, object{{"description", c.more[status]}}})
	}
	answers = append(answers, member{"default", object{{"$ref", "#/components/responses/problem"}}})
	return append(o, member{"responses", answers})
}

func indented(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", " "); err != nil {
		panic(err)
	}
	return append(b.Bytes(), '\n')
}

// built are the files of the reference, as they have to be.
func built(t *testing.T) map[string][]byte {
	t.Helper()
	src, err := readSources()
	if err != nil {
		t.Fatal(err)
	}
	table := (&Server{cfg: Config{Metrics: NewMetrics("")}}).table()
	async, rest := asyncapi(t, src), openapi(src, table)
	page := template.Must(template.New("reference.tmpl").Funcs(template.FuncMap{"get": get, "members": members, "kind": kindOf, "code": func(v any) string { return strings.TrimSpace(string(indented(v))) }, "prose": prose}).
		ParseFiles("page/reference.tmpl"))
	var text bytes.Buffer
	if err := page.Execute(&text, map[string]any{"HTTP": rest, "Messages": async, "Errors": wire.Errors}); err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"openapi.json": indented(rest), "asyncapi.json": indented(async), "reference.html": text.Bytes()}
}

func get(o any, path ...string) any {
	for _, name := range path {
		list, ok := o.(object)
		if !ok {
			return nil
		}
		o = list.get(name)
	}
	return o
}

// Row is a member of an object, for the page.
type Row struct {
	Name  string
	Value any
}

func members(o any) (all []Row) {
	list, _ := o.(object)
	for _, m := range list {
		all = append(all, Row{m.name, m.value})
	}
	return all
}

// prose sets what stands between backticks as code.
func prose(v any) template.HTML {
	text, _ := v.(string)
	return template.HTML(regexp.MustCompile("`([^`]*)`").ReplaceAllString(template.HTMLEscapeString(text), "<code>$1</code>")) //nolint:gosec // G203: it is escaped
}

// kindOf says in words what a schema allows.
func kindOf(schema any) string {
	o, _ := schema.(object)
	if ref, ok := o.get("$ref").(string); ok {
		return ref[strings.LastIndex(ref, "/")+1:]
	}
	if c, ok := o.get("const").(string); ok {
		return strconv.Quote(c)
	}
	if enum, ok := o.get("enum").([]string); ok {
		return strings.Join(enum, " | ")
	}
	kind := strings.Trim(fmt.Sprint(o.get("type")), "[]")
	switch {
	case o.get("type") == nil:
		return "anything"
	case o.get("items") != nil:
		return strings.Replace(kind, "array", "array of "+kindOf(o.get("items")), 1)
	case o.get("additionalProperties") != nil && o.get("properties") == nil:
		return strings.Replace(kind, "object", "object of "+kindOf(o.get("additionalProperties")), 1)
	case o.get("format") != nil:
		return fmt.Sprintf("%s, %v", kind, o.get("format"))
	}
	return kind
}

package infer

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Facts are what a model file says about itself.
type Facts struct {
	Name            string // of the graph
	Inputs, Outputs []Tensor
	Metadata        map[string]string
}

// Tensor is an input or output of a network.
type Tensor struct {
	Name  string
	Type  string  // float32, int64, …
	Shape []int64 // below 1: open
}

// String is the tensor as people read it: images float32 [N,3,640,640].
func (t Tensor) String() string {
	dims := make([]string, len(t.Shape))
	for i, d := range t.Shape {
		switch {
		case d >= 1:
			dims[i] = strconv.FormatInt(d, 10)
		case i == 0:
			dims[i] = "N"
		default:
			dims[i] = "?"
		}
	}
	return fmt.Sprintf("%s %s [%s]", t.Name, t.Type, strings.Join(dims, ","))
}

// String lists the inputs and outputs, and the keys of the metadata.
func (f *Facts) String() string {
	var s []string
	for _, t := range f.Inputs {
		s = append(s, "input "+t.String())
	}
	for _, t := range f.Outputs {
		s = append(s, "output "+t.String())
	}
	if len(f.Metadata) == 0 {
		return strings.Join(append(s, "no metadata"), ", ")
	}
	var keys []string
	for k := range f.Metadata {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return strings.Join(append(s, "metadata "+strings.Join(keys, " ")), ", ")
}

// Output is the output with a name, or with one that TensorFlow has added a number to.
func (f *Facts) Output(name string) (Tensor, bool) {
	for _, t := range f.Outputs {
		if base, _, _ := strings.Cut(t.Name, ":"); strings.EqualFold(base, name) || t.Name == name {
			return t, true
		}
	}
	return Tensor{}, false
}

// outputs are those with the names, or nil if one is missing.
func (f *Facts) outputs(names ...string) []Tensor {
	var all []Tensor
	for _, n := range names {
		t, ok := f.Output(n)
		if !ok {
			return nil
		}
		all = append(all, t)
	}
	return all
}

// ofRank are the outputs with so many dimensions.
func (f *Facts) ofRank(n int) []Tensor {
	var all []Tensor
	for _, t := range f.Outputs {
		if len(t.Shape) == n {
			all = append(all, t)
		}
	}
	return all
}

// parseNames reads the metadata's names: a,b,c, or a list or dictionary as Python or
// JSON prints it.
func parseNames(text string) ([]string, error) {
	text = strings.TrimSpace(text)
	if text == "" || text[0] != '{' && text[0] != '[' {
		names := strings.Split(text, ",")
		for i := range names {
			names[i] = strings.TrimSpace(names[i])
		}
		return names, nil
	}
	bad := fmt.Errorf("metadata names is %.60q, expected a,b,c or {0: 'a', 1: 'b'}", text)
	var names []string
	rest := text[1:]
	for {
		rest = strings.TrimLeft(rest, " ,\n\t")
		if rest == "}" || rest == "]" {
			return names, nil
		}
		if text[0] == '{' {
			key, after, found := strings.Cut(rest, ":")
			if n, err := strconv.Atoi(strings.Trim(key, `"' `)); err != nil || !found || n != len(names) {
				return nil, fmt.Errorf("%w, numbered from 0", bad)
			}
			rest = strings.TrimLeft(after, " ")
		}
		name, after, ok := unquote(rest)
		if !ok {
			return nil, bad
		}
		names, rest = append(names, name), after
	}
}

// unquote reads a string in either kind of quotes.
func unquote(s string) (text, rest string, ok bool) {
	if s == "" || s[0] != '\'' && s[0] != '"' {
		return "", "", false
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == s[0]:
			return b.String(), s[i+1:], true
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}

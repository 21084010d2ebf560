package infer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"
)

// ClassList are the classes of a model as classes.json lists them: their names, colours
// and thresholds. docs/models.md explains it.
type ClassList struct {
	Path string // for people
	list []ClassInfo
	text []byte
	sum  string
}

// ClassInfo is a class of a model.
type ClassInfo struct {
	ID        int     `json:"id"` // number of the model's output, from 0
	Name      string  `json:"name"`
	Color     string  `json:"color,omitempty"`     // #rrggbb
	Threshold float32 `json:"threshold,omitempty"` // lowest confidence; 0: DefaultThreshold
}

// The range of a class's threshold, which is that of a session's.
const (
	minThreshold = 0.01
	maxThreshold = 1
)

// maxName bounds the bytes of a class's name.
const maxName = 100

var color = regexp.MustCompile(`^#[0-9A-Fa-f]{6}$`)

// ParseClasses reads classes.json, a list of objects. What does not exist or appears
// twice is an error. path is for the messages.
func ParseClasses(text []byte, path string) (*ClassList, error) {
	c := &ClassList{Path: path, text: bytes.Clone(text)}
	if err := c.parse(text); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	sum := sha256.Sum256(text)
	c.sum = hex.EncodeToString(sum[:])[:12]
	return c, nil
}

func (c *ClassList) parse(text []byte) error {
	if len(text) > MaxDescription {
		return fmt.Errorf("expected at most %d bytes, found %d", MaxDescription, len(text))
	}
	// One name of an object at a time, because encoding/json takes the last of those
	// that appear twice.
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return notAList(err, text)
	}
	ids, names := map[int]bool{}, map[string]int{}
	for d.More() {
		v, err := parseClass(d)
		switch before, twice := names[v.Name]; {
		case err != nil:
			return fmt.Errorf("class %d of the list: %w", len(c.list)+1, inJSON(err, text))
		case ids[v.ID]:
			return fmt.Errorf("class %d of the list: expected each id once, found %d again", len(c.list)+1, v.ID)
		case twice:
			return fmt.Errorf("class %d of the list: expected each name once, found %q for %d and for %d", len(c.list)+1, v.Name, before, v.ID)
		}
		ids[v.ID], names[v.Name] = true, v.ID
		if c.list = append(c.list, v); len(c.list) > maxClasses {
			return fmt.Errorf("expected at most %d classes", maxClasses)
		}
	}
	if _, err := d.Token(); err != nil {
		return inJSON(err, text)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("expected one list, found more after byte %d", d.InputOffset())
	}
	if len(c.list) == 0 {
		return errors.New("expected at least one class, found none")
	}
	sorted := make([]ClassInfo, len(c.list))
	for _, v := range c.list {
		if v.ID >= len(c.list) {
			missing := 0
			for ids[missing] {
				missing++
			}
			return fmt.Errorf("expected the ids 0 to %d of %d classes, found %d and no %d", len(c.list)-1, len(c.list), v.ID, missing)
		}
		sorted[v.ID] = v
	}
	c.list = sorted
	return nil
}

// notAList says what the file is instead.
func notAList(err error, text []byte) error {
	if err != nil && !errors.Is(err, io.EOF) {
		return inJSON(err, text)
	}
	found := "nothing"
	if line := strings.Fields(string(text)); len(line) > 0 {
		found = fmt.Sprintf("%.20q", line[0])
	}
	return fmt.Errorf(`expected a list of classes such as [{"id": 0, "name": "person"}], found %s`, found)
}

// parseClass reads the next class.
func parseClass(d *json.Decoder) (ClassInfo, error) {
	v, seen := ClassInfo{ID: -1}, map[string]bool{}
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		if err != nil {
			return v, err
		}
		return v, fmt.Errorf("expected an object, found %v", t)
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return v, err
		}
		key, _ := t.(string)
		if seen[key] {
			return v, fmt.Errorf("expected %q once, found it again", key)
		}
		seen[key] = true
		switch key {
		case "id":
			err = d.Decode(&v.ID)
		case "name":
			err = d.Decode(&v.Name)
		case "color":
			err = d.Decode(&v.Color)
		case "threshold":
			err = d.Decode(&v.Threshold)
		default:
			err = fmt.Errorf("expected id, name, color or threshold, found %.40q", key)
		}
		if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			err = fmt.Errorf("%s: expected %s, found %s", key, map[string]string{"id": "a whole number", "threshold": "a number"}[key]+map[bool]string{true: "text"}[key == "name" || key == "color"], e.Value)
		}
		if err != nil {
			return v, err
		}
	}
	if _, err := d.Token(); err != nil {
		return v, err
	}
	switch {
	case !seen["id"]:
		return v, errors.New("expected an id, found none")
	case v.ID < 0 || v.ID >= maxClasses:
		return v, fmt.Errorf("id: expected 0 to %d, found %d", maxClasses-1, v.ID)
	case strings.TrimSpace(v.Name) != v.Name || v.Name == "" || len(v.Name) > maxName:
		return v, fmt.Errorf("name of class %d: expected 1 to %d bytes without blanks around them, found %.120q", v.ID, maxName, v.Name)
	case v.Color != "" && !color.MatchString(v.Color):
		return v, fmt.Errorf("color of class %d: expected one such as #ff8800, found %.40q", v.ID, v.Color)
	case seen["threshold"] && !(v.Threshold >= minThreshold && v.Threshold <= maxThreshold):
		return v, fmt.Errorf("threshold of class %d: expected %v to %v, found %v", v.ID, minThreshold, maxThreshold, v.Threshold)
	}
	return v, nil
}

// Text is that of the file.
func (c *ClassList) Text() []byte { return c.text }

// Sum is the first 12 hex digits of the SHA-256 of the file.
func (c *ClassList) Sum() string { return c.sum }

// name is what the file is called; which one it is may be a copy.
func (c *ClassList) name() string { return filepath.Base(c.Path) }

// names are the names in the order of the ids.
func (c *ClassList) names() []string {
	all := make([]string, len(c.list))
	for i, v := range c.list {
		all[i] = v.Name
	}
	return all
}

// check says where the list and the model do not agree. own says that the labels are
// the model's own.
func (c *ClassList) check(m *Model, own bool) error {
	if len(c.list) != len(m.Labels) {
		return fmt.Errorf("%s lists %d classes, and the model has %d", c.name(), len(c.list), len(m.Labels))
	}
	for i, l := range m.Labels {
		if own && c.list[i].Name != l {
			return fmt.Errorf("%s calls class %d %q, and the model calls it %q", c.name(), i, c.list[i].Name, l)
		}
	}
	return nil
}

// dress gives the model the names, colours and thresholds of the list. What of that
// changes results becomes part of Model.Description.
func (c *ClassList) dress(m *Model, own bool) {
	m.Colors = make([]string, len(c.list))
	m.Labels = c.names()
	h, matters := sha256.New(), !own
	fmt.Fprintf(h, "%s\n", m.Description)
	thresholds := make([]float32, len(c.list))
	for i, v := range c.list {
		m.Colors[i] = v.Color
		if v.Threshold == 0 {
			v.Threshold = DefaultThreshold
		} else {
			m.Thresholds, matters = thresholds, true
		}
		thresholds[i] = v.Threshold
		fmt.Fprintf(h, "%q %v\n", v.Name, v.Threshold)
	}
	if matters {
		m.Description = hex.EncodeToString(h.Sum(nil))[:12]
	}
}

// ClassInfo are the classes as they are in force.
func (m *Model) ClassInfo() []ClassInfo {
	all := make([]ClassInfo, len(m.Labels))
	for i, l := range m.Labels {
		all[i] = ClassInfo{ID: i, Name: l}
		if m.Colors != nil {
			all[i].Color = m.Colors[i]
		}
		if m.Thresholds != nil {
			all[i].Threshold = m.Thresholds[i]
		}
	}
	return all
}

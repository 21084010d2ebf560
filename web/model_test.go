package web_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"detections/session/wire"
)

// models notes what it was asked for.
type models struct{ asked []string }

func (m *models) Check(_ context.Context, force bool) error {
	m.asked = append(m.asked, map[bool]string{false: "check", true: "force"}[force])
	return nil
}

func (m *models) Use(_ context.Context, file string) error {
	m.asked = append(m.asked, file)
	return wire.Errorf(wire.BadModel, "it has no head")
}

func (m *models) Rollback(context.Context) error {
	m.asked = append(m.asked, "rollback")
	return nil
}

func TestTheModelIsChangedOnRequest(t *testing.T) {
	m := &models{}
	s := newHouse(t, options{models: m})
	for _, c := range []struct {
		path, body string
		status     int
	}{
		{"/v1/model", "", 200},
		{"/v1/model", `{"force": true}`, 200},
		{"/v1/model", `{"file": "a.onnx"}`, 422},
		{"/v1/model", `{"files": "a.onnx"}`, 400},
		{"/v1/model", "[", 400},
		{"/v1/model/rollback", "", 200},
	} {
		a := s.do("POST", c.path, strings.NewReader(c.body))
		var v struct{ AIAvailability, Model, Code string }
		if err := json.NewDecoder(a.Body).Decode(&v); err != nil {
			t.Fatal(err)
		}
		a.Body.Close()
		if a.StatusCode != c.status || c.status == 200 && (v.AIAvailability != "ENABLED" || v.Model == "") {
			t.Errorf("%s %s: %d %+v", c.path, c.body, a.StatusCode, v)
		}
	}
	if got := strings.Join(m.asked, " "); got != "check force a.onnx rollback" {
		t.Errorf("asked %s", got)
	}
}

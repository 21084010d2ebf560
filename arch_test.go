// Package detections holds the tests of the module's architecture.
package detections

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// ladder is the table of ARCHITECTURE.md: for every package the packages of this
// module, and the dependencies of note, that it may import. What is not listed is
// denied, so a new package needs a line here and a line there.
var ladder = map[string]string{
	".":                    "",
	"media":                "",
	"media/spool":          "",
	"media/worker":         "media media/worker/sandbox",
	"media/worker/sandbox": "landlock-lsm/go-landlock elastic/go-seccomp-bpf",
	"media/av":             "media C go-astiav",
	"media/mediatest":      "media",

	"infer":           "media",
	"infer/loader":    "infer",
	"infer/track":     "infer",
	"infer/ort":       "infer media C onnxruntime_go",
	"infer/infertest": "infer media",

	"infer/loader/loadertest":         "",
	"infer/loader/loadertest/standin": "infer/loader/loadertest",

	"session":             "media media/spool media/worker infer infer/track session/wire",
	"session/wire":        "media infer",
	"session/ws":          "media session session/wire coder/websocket",
	"session/rtc":         "media session session/wire pion/",
	"session/rtc/rtctest": "pion/",
	"session/client":      "session/wire coder/websocket",
	"session/sessiontest": "media media/spool infer infer/infertest session session/wire",

	"hub":                       "media media/spool infer session session/wire hub/timeline hub/outbox",
	"hub/timeline":              "session/wire cockroachdb/pebble",
	"hub/timeline/timelinetest": "hub/timeline session/wire",
	"hub/outbox":                "session/wire golang.org/x/oauth2",
	"hub/outbox/outboxtest":     "",

	"web":      "media/worker/sandbox media infer session session/wire session/ws session/rtc hub hub/outbox web/auth web/page prometheus/client_golang",
	"web/auth": "session/wire golang-jwt/jwt",
	"web/page": "docs/clients",

	"docs/clients":        "",
	"docs/clients/stream": "session/client session/wire",

	"deploy/monitoring/picture": "",

	"cmd/detections":       "media/worker/sandbox media media/av media/spool media/worker infer infer/loader infer/ort session session/wire session/client session/rtc hub hub/timeline hub/outbox web web/auth spf13/cobra vbauerster/mpb lmittmann/tint",
	"cmd/detections-bench": "media/worker/sandbox media media/av media/mediatest media/worker media/spool infer infer/loader infer/ort session session/wire session/rtc/rtctest hub hub/timeline web coder/websocket pion/",
}

// noted are dependencies that only the packages that list them may import.
var noted = []string{"C", "go-astiav", "onnxruntime_go", "coder/websocket", "pion/", "prometheus/client_golang", "golang.org/x/oauth2", "golang-jwt/jwt", "spf13/cobra", "lmittmann/tint", "vbauerster/mpb", "cockroachdb/pebble", "landlock-lsm/go-landlock", "elastic/go-seccomp-bpf"}

type pkg struct {
	ImportPath string
	Doc        string
	Imports    []string
	Name       string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Doc,Imports,Name", "./...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1") // or some packages would be empty
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestImportsFollowTheLadder(t *testing.T) {
	for _, p := range packages(t) {
		name := inModule(p.ImportPath)
		list, ok := ladder[name]
		if !ok {
			t.Errorf("package %s is not in the table of arch_test.go and ARCHITECTURE.md", name)
			continue
		}
		allowed := strings.Fields(list)
		for _, imp := range p.Imports {
			if what := inModule(imp); what != "" && !slices.Contains(allowed, what) {
				t.Errorf("%s may not import %s", name, what)
			}
			for _, n := range noted {
				if (imp == n || n != "C" && strings.Contains(imp, n)) && !slices.Contains(allowed, n) {
					t.Errorf("%s may not import %s", name, imp)
				}
			}
		}
	}
}

func TestTheTableHasNoGhosts(t *testing.T) {
	all := packages(t)
	for name := range ladder {
		if !slices.ContainsFunc(all, func(p pkg) bool { return inModule(p.ImportPath) == name }) {
			t.Errorf("the table names %s, which does not exist", name)
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" && inModule(p.ImportPath) != "." {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

// inModule is the path within this module, "." for its root, "" for other modules.
func inModule(path string) string {
	if path == "detections" {
		return "."
	}
	rest, ok := strings.CutPrefix(path, "detections/")
	if !ok {
		return ""
	}
	return rest
}

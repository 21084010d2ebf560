package main_test

import (
	"os"
	"os/exec"
	"testing"
)

// TestE2EPage runs the page's own tests: a real browser, the built program.
func TestE2EPage(t *testing.T) {
	need(t, "DETECTIONS_TEST_MEDIA")
	binary, err := program()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"pairing", "player", "page", "session", "whip", "live"} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "node", name+".test.mjs")
			cmd.Dir = "../../web/page/test"
			cmd.Env = append(os.Environ(), "DETECTIONS_BINARY="+binary)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("%s", out)
		})
	}
}

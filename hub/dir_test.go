package hub_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"detections/hub"
	"detections/session/wire"
)

func TestOneHubPerDataDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{})
		c := r.start(wire.Start{})
		c.send("K")
		config := hub.Config{Dir: r.dir, AI: r.ai}
		_, err := hub.New(config)
		if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), r.dir+" is in use by another process") {
			t.Errorf("second hub: %v", err)
		}
		if len(r.spooled()) != 1 {
			t.Error("the second hub cleaned the first one's spool")
		}
		c.Reader.Close()
		r.close()

		second, err := hub.New(config)
		must(t, err)
		must(t, second.Close())
	})
}

func TestSpoolOfAnEarlierProcessIsCleaned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "not", "there", "yet")
		must(t, os.MkdirAll(filepath.Join(dir, "spool"), 0o700))
		left := filepath.Join(dir, "spool", "x.media")
		must(t, os.WriteFile(left, []byte("K"), 0o600))
		h, err := hub.New(hub.Config{Dir: dir, AI: hub.NewAI(nil, nil)})
		must(t, err)
		if exists(left) {
			t.Errorf("%s is still there", left)
		}
		must(t, h.Close())
	})
}

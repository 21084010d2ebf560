package loader

import (
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEmbeddedModelIsTheKnownOne(t *testing.T) {
	f, err := Embedded()
	if err != nil {
		t.Fatal(err)
	}
	if f.Name != "nanodet-g-416" || f.Version != "ce53d22ed9cb" || len(f.Bytes) != 7652631 {
		t.Errorf("got %s@%s of %d bytes", f.Name, f.Version, len(f.Bytes))
	}
}

func TestChangedModelIsRefused(t *testing.T) {
	if _, err := verify("m", []byte("changed"), embeddedSHA256); err == nil || !strings.Contains(err.Error(), embeddedSHA256) {
		t.Errorf("err = %v, want one that names the expected sum", err)
	}
}

func TestNoticeNamesLicenceAndAuthors(t *testing.T) {
	for _, part := range []string{"Apache License", "RangiLyu", "Vladimir Mandic", "onverted", "MIT License"} {
		if !strings.Contains(Notice, part) {
			t.Errorf("NOTICE does not mention %q", part)
		}
	}
}

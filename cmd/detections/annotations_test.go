package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestAnnotationsSettings(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("word\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	auth := " --annotations-auth-url http://auth --annotations-client-id hub --annotations-client-secret-file "
	for args, want := range map[string]string{
		"": "",
		"--annotations-url http://a --annotations-results all":                  "",
		"--annotations-url http://a" + auth + secret:                            "",
		"--annotations-url http://a" + auth + "/nowhere/secret":                 "annotations-client-secret-file",
		"--annotations-url ftp://a":                                             "https://annotations.example.org",
		"--annotations-results none":                                            "nonempty or all",
		"--annotations-token-file f":                                            "annotations-url",
		"--annotations-url http://a --annotations-client-id x":                  "all or none",
		"--annotations-url http://a --annotations-token-file f" + auth + secret: "one of them",
	} {
		var a annotations
		f := pflag.NewFlagSet("", pflag.ContinueOnError)
		a.flags(f)
		err := f.Parse(strings.Fields(args))
		if err == nil {
			err = a.validate()
		}
		if err == nil {
			_, err = a.service()
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}

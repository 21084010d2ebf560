//go:build faults

package main

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// A program that breaks once it has taken over, as FAULT says, for the tests of the
// deployment. No product is built with this tag.
func init() {
	fault := os.Getenv("FAULT")
	if fault == "" || !slices.Contains(os.Args, "--takeover") {
		return // good while it is tried
	}
	disguise = func(face http.Handler) http.Handler {
		if fault == "leaks" {
			go leak()
		}
		return &broken{face: face, fault: fault, begun: time.Now()}
	}
}

type broken struct {
	face          http.Handler
	fault         string
	begun         time.Time
	asked, failed atomic.Int64
}

func (b *broken) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	works, later := r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/detect"), time.Since(b.begun) > 10*time.Second
	switch {
	case b.fault == "answers-500" && works,
		b.fault == "answers-500-later" && works && later,
		b.fault == "fails-some" && r.URL.Path == "/classes" && b.asked.Add(1)%2 == 0:
		b.failed.Add(1)
		http.Error(w, "broken", http.StatusInternalServerError)
		return
	case b.fault == "slow" && works && later:
		time.Sleep(3 * time.Second)
	}
	b.face.ServeHTTP(w, r)
	if r.URL.Path == "/metrics" { // the face does not know what was answered in its place
		fmt.Fprintf(w, "detections_requests_total{door=\"broken\",status=\"5xx\"} %d\n", b.failed.Load())
	}
}

// leak takes 64 MB more each second, up to 2 GB.
func leak() {
	kept := make([][]byte, 0, 32)
	for range cap(kept) {
		time.Sleep(time.Second)
		b := make([]byte, 64<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		kept = append(kept, b)
	}
	select {}
}

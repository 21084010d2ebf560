package main_test

import (
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestE2EGoHasHalfOfTheCoresUnlessItIsTold reads the number that Go's scheduler has once the
// engines, which are tried when they are opened, have been at rest.
func TestE2EGoHasHalfOfTheCoresUnlessItIsTold(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	runtime.SetDefaultGOMAXPROCS() // whatever these tests were told
	cores := runtime.GOMAXPROCS(before)
	for variable, want := range map[string]int{"": max(1, cores/2), "3": 3} {
		t.Run("GOMAXPROCS="+variable, func(t *testing.T) {
			p := start(t, []string{"GOMAXPROCS=" + variable})
			p.await("engine ready")
			line := fmt.Sprintf("\ngo_sched_gomaxprocs_threads %d\n", want)
			for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
				a, err := http.Get(p.url + "/metrics")
				if err != nil {
					t.Fatal(err)
				}
				text, err := io.ReadAll(a.Body)
				a.Body.Close()
				if err == nil && strings.Contains(string(text), line) {
					return
				}
				if time.Since(begun) > patience {
					_, has, _ := strings.Cut(string(text), "\ngo_sched_gomaxprocs_threads ")
					t.Fatalf("not %d processors but %.20q, err %v", want, has, err)
				}
			}
		})
	}
}

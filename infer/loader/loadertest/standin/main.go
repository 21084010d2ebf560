// Command standin is a Loader service for trying things out: it gives the ONNX files of
// a folder by the contract of docs/loader.md, and fails as it is told.
//
//	go run ./infer/loader/loadertest/standin -folder models -fault 500,cut,none
package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"detections/infer/loader/loadertest"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "standin:", err)
		os.Exit(1)
	}
}

func run() error {
	listen := flag.String("listen", "127.0.0.1:8090", "address and port")
	folder := flag.String("folder", ".", "folder with NAME.onnx and, if there are some, NAME.json, NAME.golden.json and golden/ with pictures")
	faults := flag.String("fault", "none", "what goes wrong with the first request for a model, the second, …; the last goes on for ever")
	cut := flag.Int64("cut-after", 0, "bytes after which cut, stall and drip do so; 0: half of the model")
	every := flag.Duration("drip-every", time.Second, "time between the pieces of drip")
	token := flag.String("token-file", "", "file with the token to expect; default: anyone may ask")
	flag.Parse()
	s := &loadertest.Service{CutAfter: *cut, DripEvery: *every, RetryAfter: "5"}
	var plan []loadertest.Fault
	for name := range strings.SplitSeq(*faults, ",") {
		f, err := loadertest.ParseFault(name)
		if err != nil {
			return fmt.Errorf("fault: %w", err)
		}
		plan = append(plan, f)
	}
	s.Fault = func(n int) loadertest.Fault { return plan[min(n, len(plan)-1)] }
	if *token != "" {
		want, err := os.ReadFile(*token)
		if err != nil {
			return err
		}
		s.Tokens = func(t string) bool { return t == strings.TrimSpace(string(want)) }
	}
	if err := put(s, *folder); err != nil {
		return err
	}
	var err error
	if s.Pictures, err = pictures(*folder); err != nil {
		return err
	}
	server := &http.Server{Addr: *listen, ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := put(s, *folder); err != nil { // what lies there now
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer func() {
			all := s.Requests()
			q := all[len(all)-1]
			log.Printf("%s %s %s: %d, %d bytes", r.Method, q.Path, q.Range, q.Status, q.Bytes) //nolint:gosec // G706: a tool for a terminal
		}()
		s.ServeHTTP(w, r)
	})}
	return server.ListenAndServe()
}

// pictures are those of the subfolder golden, as of the start.
func pictures(folder string) (map[string][]byte, error) {
	all := map[string][]byte{}
	files, err := filepath.Glob(filepath.Join(folder, "golden", "*.*"))
	for _, path := range files {
		b, err := os.ReadFile(path) //nolint:gosec // G304: the user names the folder
		if err != nil {
			return nil, err
		}
		all["golden/"+filepath.Base(path)] = b
	}
	return all, err
}

// put gives the models of the folder.
func put(s *loadertest.Service, folder string) error {
	files, err := filepath.Glob(filepath.Join(folder, "*.onnx"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("expected files *.onnx in %s, found none", folder)
	}
	for _, path := range files {
		b, err := os.ReadFile(path) //nolint:gosec // G304: the user names the folder
		if err != nil {
			return err
		}
		name := strings.TrimSuffix(filepath.Base(path), ".onnx")
		m := loadertest.Model{Bytes: b}
		for ext, to := range map[string]*string{".json": &m.Description, ".golden.json": &m.Golden} {
			text, err := os.ReadFile(filepath.Join(folder, name+ext)) //nolint:gosec // G304: the user names the folder
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			*to = string(text)
		}
		s.Put(name, m)
	}
	return nil
}

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"detections/media"
)

// input is one thing to look at.
type input struct {
	name string // as the user gave it, or the path below a folder he gave
	out  string // name for files that are written about it, without an extension
	size int64  // bytes, 0: not known
	file string // path of a regular file, or empty

	open func(context.Context, *input) (io.ReadCloser, error)
}

// base is the name without folders, as short as the protocol wants it.
func (in *input) base() string {
	b := []byte(path.Base(filepath.ToSlash(in.name)))
	return strings.ToValidUTF8(string(b[:min(len(b), 255)]), "")
}

// find makes inputs of the arguments, and says what cannot be one.
func (d *detector) find(args []string) (all []*input) {
	taken := map[string]bool{}
	add := func(in *input) {
		name := in.out
		for n := 2; taken[name]; n++ { // two folders may have files of the same name
			name = fmt.Sprintf("%s-%d", in.out, n)
		}
		taken[name], in.out = true, name
		all = append(all, in)
	}
	for _, a := range args {
		switch {
		case a == "-":
			add(&input{name: "stdin", out: "stdin", open: openStdin})
		case strings.HasPrefix(a, "http://"), strings.HasPrefix(a, "https://"):
			add(&input{name: a, out: urlName(a), open: openURL})
		default:
			if err := findFiles(a, add); err != nil {
				d.complain(a, err)
			}
		}
	}
	return all
}

func urlName(text string) string {
	if u, err := url.Parse(text); err == nil && path.Base(u.Path) != "/" && path.Base(u.Path) != "." {
		return path.Base(u.Path)
	}
	return "url"
}

func findFiles(name string, add func(*input)) error {
	st, err := os.Stat(name)
	switch {
	case err != nil:
		return err
	case st.IsDir():
		return findInFolder(name, add)
	}
	add(fileInput(name, filepath.Base(name), st))
	return nil
}

func fileInput(name, out string, st fs.FileInfo) *input {
	in := &input{name: name, out: out, open: openFile}
	if st.Mode().IsRegular() {
		in.size, in.file = st.Size(), name
	}
	return in
}

// findInFolder adds the media below a folder: what their first bytes say, not their
// names. Hidden files and folders are left out.
func findInFolder(dir string, add func(*input)) error {
	found, files := 0, 0
	looks := ""
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(e.Name(), ".") && name != dir:
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		case !e.Type().IsRegular():
			return nil
		}
		files++
		s, err := sniffFile(name)
		if err != nil {
			return err
		}
		if s.Container == "" {
			if s.Looks != "" {
				looks = fmt.Sprintf("; %s is %s", e.Name(), s.Looks)
			}
			return nil
		}
		st, err := e.Info()
		if err != nil {
			return err
		}
		out, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		found++
		add(fileInput(name, out, st))
		return nil
	})
	if err != nil {
		return err
	}
	if found == 0 {
		return fmt.Errorf("none of the files in this folder (%d) is a video or picture (%s)%s", files, strings.Join(media.Containers, ", "), looks)
	}
	return nil
}

func sniffFile(name string) (media.Sniffed, error) {
	f, err := os.Open(name) //nolint:gosec // G304: the user names the file
	if err != nil {
		return media.Sniffed{}, err
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, media.SniffLen))
	return media.Sniff(head, true), err
}

func openFile(_ context.Context, in *input) (io.ReadCloser, error) { return os.Open(in.name) }

// hashOf is the SHA-256 of a file's bytes, in hex.
func hashOf(ctx context.Context, name string) (string, error) {
	f, err := os.Open(name) //nolint:gosec // G304: the user names the file
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	for {
		const piece = 16 << 20 // between two looks whether the user has interrupted
		_, err := io.CopyN(sum, f, piece)
		switch {
		case errors.Is(err, io.EOF):
			return hex.EncodeToString(sum.Sum(nil)), nil
		case err != nil:
			return "", err
		case ctx.Err() != nil:
			return "", context.Cause(ctx)
		}
	}
}

// openURL fetches what is passed on as it arrives.
func openURL(ctx context.Context, in *input) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, in.name, nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return nil, fmt.Errorf("it cannot be fetched: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		answer.Body.Close()
		return nil, fmt.Errorf("it cannot be fetched: the server answers %s", answer.Status)
	}
	in.size = max(0, answer.ContentLength)
	return answer.Body, nil
}

func openStdin(context.Context, *input) (io.ReadCloser, error) { return &stdin{}, nil }

// stdin is the standard input, with a Close that ends a Read that waits. Making the
// descriptor non-blocking would do so too, but for whoever shares it as well: the shell.
type stdin struct{ closed atomic.Bool }

// stdinPoll is how soon Close is noticed.
const stdinPoll = 100 * time.Millisecond

func (s *stdin) Read(p []byte) (int, error) {
	for !s.closed.Load() {
		n, err := unix.Poll([]unix.PollFd{{Fd: 0, Events: unix.POLLIN}}, int(stdinPoll.Milliseconds()))
		if n > 0 || err != nil && !errors.Is(err, unix.EINTR) {
			return os.Stdin.Read(p)
		}
	}
	return 0, os.ErrClosed
}

func (s *stdin) Close() error {
	s.closed.Store(true)
	return nil
}

// peeked is media whose first bytes were looked at.
type peeked struct {
	io.Reader
	io.Closer
}

// peek says what the media looks like, and gives it back whole. It reads no more
// than it needs, so that a live input is not held up.
func peek(r io.ReadCloser) (io.ReadCloser, media.Sniffed, error) {
	head := make([]byte, 0, media.SniffLen)
	for {
		n, err := r.Read(head[len(head):cap(head)])
		head = head[:len(head)+n]
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, media.Sniffed{}, errors.Join(err, r.Close())
		}
		if s := media.Sniff(head, err != nil); !s.More {
			whole := io.MultiReader(bytes.NewReader(head), r)
			if seeker, ok := r.(io.Seeker); ok && rewound(seeker, len(head)) {
				whole = r
			}
			return peeked{whole, r}, s, nil
		}
	}
}

func rewound(s io.Seeker, n int) bool {
	_, err := s.Seek(-int64(n), io.SeekCurrent)
	return err == nil
}

package loader

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// errSlow is the cause of a context that ended because nothing came, or too little.
var errSlow = errors.New("nothing came")

// get makes a request that ends when not enough comes within the timeout: a drip of bytes
// must not take for ever. done must be called when the answer was read, alive whenever
// something came.
func (s *Service) get(ctx context.Context, address string, header map[string]string) (res *http.Response, alive func(bytes int), done func(), err error) {
	token := ""
	if s.token != nil {
		if token, err = s.token(ctx); err != nil {
			return nil, nil, nil, &Error{Reason: Denied, Err: err}
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	idle := time.AfterFunc(s.timeout, func() { cancel(errSlow) })
	end := func() {
		idle.Stop()
		cancel(nil)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		end()
		return nil, nil, nil, err
	}
	r.Header.Set("User-Agent", "detections")
	r.Header.Set("Accept-Encoding", "identity") // its length and ranges are to be those of the file
	for k, v := range header {
		if v != "" {
			r.Header.Set(k, v)
		}
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	res, err = s.http.Do(r) //nolint:gosec // G704: the operator names the service
	if err != nil {
		err = s.broken(ctx, err, Unreachable)
		end()
		return nil, nil, nil, err
	}
	came := int64(0)
	return res, func(bytes int) {
			if came += int64(bytes); came >= s.enough {
				came = 0
				idle.Reset(s.timeout)
			}
		}, func() {
			_ = res.Body.Close()
			end()
		}, nil
}

// broken is an error of a connection: it was too slow, or else what reason says.
func (s *Service) broken(ctx context.Context, err error, reason Reason) *Error {
	if errors.Is(context.Cause(ctx), errSlow) {
		return &Error{Reason: Slow, Err: fmt.Errorf("nothing came for %v, or less than %d bytes", s.timeout, s.enough)}
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		if e.Timeout() && reason == Unreachable && ctx.Err() == nil {
			reason = Slow
		}
		err = e.Err // without the address: a redirection may have secrets in its query
	}
	return &Error{Reason: reason, Err: err}
}

// answer is a small file, or that there is none.
type answer struct {
	status int // 200, 304 or 404
	text   []byte
	etag   string
}

// small gets a small file that there may be.
func (s *Service) small(ctx context.Context, address, etag string, most int64) (answer, error) {
	res, alive, done, err := s.get(ctx, address, map[string]string{"If-None-Match": etag})
	if err != nil {
		return answer{}, inside(address, err)
	}
	defer done()
	switch {
	case res.StatusCode == http.StatusNotFound || res.StatusCode == http.StatusGone:
		return answer{status: http.StatusNotFound}, nil
	case res.StatusCode == http.StatusNotModified && etag != "":
		return answer{status: http.StatusNotModified}, nil
	case res.StatusCode != http.StatusOK:
		return answer{}, inside(address, refusal(res))
	}
	text, err := io.ReadAll(io.LimitReader(told{res.Body, alive}, most+1))
	if err != nil {
		return answer{}, inside(address, s.broken(res.Request.Context(), err, Truncated))
	}
	if int64(len(text)) > most {
		return answer{}, &Error{Reason: Invalid, Err: fmt.Errorf("%s has more than %d bytes", address, most)}
	}
	return answer{http.StatusOK, text, res.Header.Get("ETag")}, nil
}

// told is a reader that tells how much came.
type told struct {
	io.Reader
	came func(bytes int)
}

func (t told) Read(p []byte) (int, error) {
	n, err := t.Reader.Read(p)
	t.came(n)
	return n, err
}

// inside names the address of an error that is not the model's own.
func inside(address string, err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		e.Err = fmt.Errorf("%s: %w", address, e.Err)
		return e
	}
	return err
}

// refusal is an answer that is no success.
func refusal(res *http.Response) *Error {
	e := &Error{Reason: Unavailable, After: retryAfter(res.Header.Get("Retry-After"))}
	switch res.StatusCode {
	case http.StatusNotFound, http.StatusGone:
		e.Reason = NotFound
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
		e.Reason = Denied
	}
	said, _ := io.ReadAll(io.LimitReader(res.Body, 200))
	e.Err = fmt.Errorf("expected the model, found %s", clean(res.Status+": "+string(said)))
	return e
}

// clean makes words of a stranger fit for a log.
func clean(words string) string {
	words = strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(words, ""))
	return strings.TrimRight(strings.Join(strings.Fields(words), " "), ": ")
}

func retryAfter(header string) time.Duration {
	var d time.Duration
	if seconds, err := strconv.ParseInt(header, 10, 32); err == nil {
		d = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(header); err == nil {
		d = time.Until(at)
	}
	return max(0, min(d, maxAfter))
}

// onDisk is the reason of an error of a file of ours.
func onDisk(err error) Reason {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG) {
		return NoSpace
	}
	return Storage
}

// sumIn is the SHA-256 that the headers give, in lower-case hex; empty: they give none.
func sumIn(h http.Header) string {
	if sum := strings.ToLower(h.Get("X-Checksum-Sha256")); isSum(sum) {
		return sum
	}
	for part := range strings.SplitSeq(h.Get("Repr-Digest"), ",") { // RFC 9530
		if v, ok := strings.CutPrefix(strings.TrimSpace(part), "sha-256=:"); ok {
			b, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(v, ":"))
			if sum := hex.EncodeToString(b); err == nil && isSum(sum) {
				return sum
			}
		}
	}
	return ""
}

// sumOf asks for the SHA-256 of a model whose headers do not give it, as sha256sum
// prints it.
func (s *Service) sumOf(ctx context.Context, h http.Header) (string, error) {
	if sum := sumIn(h); sum != "" {
		return sum, nil
	}
	address := s.url + ".sha256"
	a, err := s.small(ctx, address, "", 4096)
	if err != nil {
		return "", err
	}
	if a.status == http.StatusNotFound {
		return "", &Error{Reason: Mismatch, Err: fmt.Errorf("expected the SHA-256 of the model, in X-Checksum-Sha256 or Repr-Digest or in %s, found none", address)}
	}
	word, _, _ := strings.Cut(strings.TrimSpace(string(a.text)), " ")
	if word = strings.ToLower(word); !isSum(word) {
		return "", &Error{Reason: Invalid, Err: fmt.Errorf("%s: expected 64 hex digits, found %.80q", address, a.text)}
	}
	return word, nil
}

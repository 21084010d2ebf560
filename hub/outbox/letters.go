package outbox

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Letter is a dead letter: an event that the service has refused.
type Letter struct {
	Key       string    `json:"key"`
	Session   string    `json:"session"`
	Principal string    `json:"principal,omitempty"`
	Offset    uint64    `json:"offset"`
	Status    int       `json:"status"` // HTTP's
	Reason    string    `json:"reason"`
	At        time.Time `json:"at"`       // of the last refusal
	Attempts  int       `json:"attempts"` // how often it was refused
	// Request is what POST /annotations was sent, with this event alone. Lists leave
	// it out.
	Request json.RawMessage `json:"request,omitempty"`
}

// errFull says that no more dead letters are kept.
var errFull = errors.New("there are as many dead letters as are kept; 'detections outbox' lists, retries and drops them")

// letters keeps the dead letters, each in a file of its own, which is complete and
// durable before the cursor passes its event.
type letters struct {
	dir   string
	limit int

	mu  sync.Mutex
	all map[string]Letter // by key, without requests
}

const letterSuffix = ".json"

func openLetters(dir string, limit int) (*letters, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("dead letters: %w", err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("dead letters: %w", err)
	}
	l := &letters{dir: dir, limit: limit, all: map[string]Letter{}}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), letterSuffix) {
			_ = os.Remove(filepath.Join(dir, f.Name())) // was being written when the program ended
			continue
		}
		one, err := readLetter(filepath.Join(dir, f.Name()))
		if err != nil {
			return nil, err
		}
		one.Request = nil
		l.all[one.Key] = one
	}
	return l, nil
}

func readLetter(path string) (Letter, error) {
	var one Letter
	text, err := os.ReadFile(path) //nolint:gosec // G304: a file of the hub's own folder
	if err == nil {
		err = json.Unmarshal(text, &one)
	}
	if err != nil {
		return one, fmt.Errorf("dead letter %s: %w", path, err)
	}
	return one, nil
}

// path is where the letter of an event is; keys may hold anything.
func (l *letters) path(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(l.dir, hex.EncodeToString(sum[:16])+letterSuffix)
}

// put writes a letter, in place of a former one of the same event. errFull.
func (l *letters) put(one Letter) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	before, known := l.all[one.Key]
	if !known && len(l.all) >= l.limit {
		return errFull
	}
	one.Attempts = before.Attempts + 1
	text, err := json.Marshal(one)
	if err != nil {
		return fmt.Errorf("dead letter: %w", err)
	}
	if err := replaceFile(l.path(one.Key), text); err != nil {
		return fmt.Errorf("dead letter: %w", err)
	}
	one.Request = nil
	l.all[one.Key] = one
	return nil
}

// get returns a letter with its request.
func (l *letters) get(key string) (Letter, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.all[key]; !ok {
		return Letter{}, fs.ErrNotExist
	}
	return readLetter(l.path(key))
}

// remove forgets a letter, and says whether there was one.
func (l *letters) remove(key string) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.all[key]; !ok {
		return false, nil
	}
	if err := os.Remove(l.path(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("dead letter: %w", err)
	}
	delete(l.all, key)
	return true, syncDir(l.dir)
}

// list returns all letters by session and offset.
func (l *letters) list() []Letter {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]Letter, 0, len(l.all))
	for _, one := range l.all {
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b Letter) int {
		return cmp.Or(cmp.Compare(a.Session, b.Session), cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Key, b.Key))
	})
	return all
}

// count is how many there are.
func (l *letters) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all)
}

// replaceFile writes a file so that after a crash it is there as a whole or not at all.
func replaceFile(path string, text []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = bytes.NewReader(text).WriteTo(f)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // G304: the hub's own folder
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

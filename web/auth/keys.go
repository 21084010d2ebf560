package auth

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"detections/session/wire"
)

// keyPrefix marks API keys, so that they are found where they should not be.
const keyPrefix = "dk_"

// Key is an API key as its file has it: not the key itself, which is long and random,
// so that its hash says nothing about it.
type Key struct {
	Name    string // who uses it
	Role    Role
	Hash    digest
	Created string // the day, for people
}

// ID tells the keys of one name apart.
func (k Key) ID() string { return hex.EncodeToString(k.Hash[:4]) }

// NewKey makes a key; text is shown once and kept nowhere.
func NewKey(name, role string) (k Key, text string, err error) {
	if err := checkName(name); err != nil {
		return k, "", err
	}
	r := roleOf(role)
	if r == 0 {
		return k, "", fmt.Errorf("expected the role read, stream or admin, got %q", role)
	}
	text = keyPrefix + rand.Text()
	return Key{name, r, digestOf(text), time.Now().UTC().Format(time.DateOnly)}, text, nil
}

const maxName = 64

// checkName keeps the names of keys printable and without the letters of other
// principals' names.
func checkName(name string) error {
	ok := name != "" && len(name) <= maxName
	for _, c := range name {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("._-", c))
	}
	if !ok {
		return fmt.Errorf("expected a name of 1 to %d letters, digits, dots and dashes, got %.80q", maxName, name)
	}
	return nil
}

const keysHead = "# API keys of a Detections hub: name, role, SHA-256 of the key, day. Written by 'detections key'.\n"

// maxKeysFile bounds a file of keys, in bytes: some 10,000 keys.
const maxKeysFile = 1 << 20

// ReadKeys reads a file of keys.
func ReadKeys(path string) ([]Key, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("%s can be written by others (mode %v): who can, can let himself in; chmod go-w", path, info.Mode().Perm())
	}
	if info.Size() > maxKeysFile {
		return nil, fmt.Errorf("%s has %d bytes; at most %d are read", path, info.Size(), maxKeysFile)
	}
	text, err := os.ReadFile(path) //nolint:gosec // G304: the operator names the file
	if err != nil {
		return nil, err
	}
	return parseKeys(text)
}

func parseKeys(text []byte) ([]Key, error) {
	var keys []Key
	for lines, n := bufio.NewScanner(bytes.NewReader(text)), 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		k, err := parseKey(fields)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func parseKey(fields []string) (k Key, err error) {
	if len(fields) < 3 {
		return k, errors.New("expected a name, a role and the SHA-256 of the key")
	}
	if err := checkName(fields[0]); err != nil {
		return k, err
	}
	k.Name, k.Role = fields[0], roleOf(fields[1])
	if k.Role == 0 {
		return k, fmt.Errorf("expected the role read, stream or admin, got %.40q", fields[1])
	}
	if n, err := hex.Decode(k.Hash[:], []byte(fields[2][:min(len(fields[2]), 64)])); err != nil || n != len(k.Hash) || len(fields[2]) != 64 {
		return k, errors.New("expected the SHA-256 of the key as 64 hex digits") // not what is there: it may be the key
	}
	if len(fields) > 3 {
		k.Created = fields[3]
	}
	return k, nil
}

// WriteKeys replaces a file of keys.
func WriteKeys(path string, keys []Key) error {
	var b bytes.Buffer
	b.WriteString(keysHead)
	for _, k := range keys {
		fmt.Fprintf(&b, "%s %s %x %s\n", k.Name, k.Role, k.Hash, k.Created)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".api-keys-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(b.Bytes())
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// Keys are the API keys of a file, which is read again when it changes: a key that is
// revoked is refused a second later.
type Keys struct {
	path string
	log  *slog.Logger

	mu     sync.Mutex
	known  map[digest]Key // guarded by mu
	info   os.FileInfo    // guarded by mu: of what was read; nil: there was no file
	looked time.Time      // guarded by mu
}

// lookEvery is how often the file is looked at, if somebody comes.
const lookEvery = time.Second

// OpenKeys reads a file of keys.
func OpenKeys(path string, log *slog.Logger) (*Keys, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	k := &Keys{path: path, log: log}
	info, err := os.Stat(path)
	if err == nil {
		err = k.read(info)
	}
	if err != nil {
		return nil, fmt.Errorf("API keys: %w", err)
	}
	k.looked = time.Now()
	return k, nil
}

// identify says whose key a text is. A nil Keys knows none.
func (k *Keys) identify(text string) (Identity, error) {
	if k != nil {
		if found, ok := k.lookup(digestOf(text)); ok {
			return Identity{Principal: "key:" + found.Name, Roles: found.Role}, nil
		}
	}
	return Identity{}, wire.Errorf(wire.Unauthorized, "the API key is not known here, or was revoked")
}

func (k *Keys) lookup(d digest) (Key, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := time.Now(); now.Sub(k.looked) >= lookEvery {
		k.looked = now
		k.look()
	}
	found, ok := k.known[d]
	return found, ok
}

// look reads the file again if it has changed. A file that makes no sense changes
// nothing; without a file there are no keys. k.mu is held.
func (k *Keys) look() {
	info, err := os.Stat(k.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if k.info != nil {
			k.log.Error("the file of API keys is gone: all are refused", "path", k.path)
		}
		k.known, k.info = nil, nil
		return
	case err == nil && k.info != nil && os.SameFile(info, k.info) && info.Size() == k.info.Size() && info.ModTime().Equal(k.info.ModTime()):
		return
	case err == nil:
		err = k.read(info)
	}
	if err != nil {
		k.log.Error("the file of API keys cannot be read; those known before stay", "path", k.path, "err", err)
	}
}

// read reads the file. What is wrong with it is said once, until it changes again.
func (k *Keys) read(info os.FileInfo) error {
	k.info = info
	keys, err := ReadKeys(k.path)
	if err != nil {
		return err
	}
	known := make(map[digest]Key, len(keys))
	for _, key := range keys {
		known[key.Hash] = key
	}
	k.known = known
	return nil
}

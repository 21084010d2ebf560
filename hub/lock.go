package hub

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lockEvery is how often a data directory is tried that another process still has:
// connections wait meanwhile.
const lockEvery = 2 * time.Millisecond

// lockDir makes the data directory if need be and takes it for this process. If
// another one has it, that is waited for.
func lockDir(dir string, wait time.Duration) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // G304: the operator names the folder
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	for begun := time.Now(); unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil; time.Sleep(lockEvery) {
		if time.Since(begun) >= wait {
			_ = f.Close() // nothing was written
			return nil, fmt.Errorf("data directory %s is in use by another process; stop it, take over from it with --takeover, or give --data another directory", dir)
		}
	}
	return f, nil
}

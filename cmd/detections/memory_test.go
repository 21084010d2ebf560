package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMemoryIsThatOfTheControlGroup(t *testing.T) {
	const meminfo = "MemTotal:       16777216 kB\nMemFree:         1 kB\nMemAvailable:    8388608 kB\n"
	for name, c := range map[string]struct {
		files       map[string]string
		limit, used int64
	}{
		"a machine":   {map[string]string{"proc/meminfo": meminfo}, 16 << 30, 8 << 30},
		"nothing":     {nil, 0, 0},
		"no limit":    {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 16 << 30, 8 << 30},
		"version 2":   {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "1073741824\n", "sys/fs/cgroup/a/b/memory.current": "5\n"}, 1 << 30, 5},
		"around it":   {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/memory.max": "7\n"}, 7, 0},
		"a container": {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/elsewhere\n", "sys/fs/cgroup/memory.max": "536870912\n"}, 512 << 20, 0},
		"version 1": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "9:cpu:/\n4:memory:/a\n0::/\n", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "536870912\n",
			"sys/fs/cgroup/memory/a/memory.usage_in_bytes": "1\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, 512 << 20, 1},
	} {
		root := t.TempDir()
		for file, text := range c.files {
			path := filepath.Join(root, file)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if limit, used := memoryOf(root); limit != c.limit || used != c.used {
			t.Errorf("%s: %d, of which %d are used; want %d and %d", name, limit, used, c.limit, c.used)
		}
	}
}

func TestSessionsFitIntoTheMemory(t *testing.T) {
	for limit, want := range map[int64]int{0: 0, 1 << 20: 1, 256 << 20: 1, 512 << 20: 4, 4 << 30: 60, 24 << 30: 380} {
		if n := sessionRoom(limit); n != want {
			t.Errorf("%d MiB: %d sessions, want %d", limit>>20, n, want)
		}
	}
}

package mediatest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// Ordeal is what came of hostile inputs.
type Ordeal struct {
	Through   string         // what they went through
	Inputs    int            // how many
	Ends      map[string]int // how they ended
	Died      int            // decoder processes
	Crashed   int            // hubs
	Slowest   time.Duration
	Which     string    // the slowest
	Largest   int       // process, in kB
	Neighbour []float64 // what a neighbour kept of its frame rate, each time
}

func (o *Ordeal) add(more Ordeal) {
	o.Through = more.Through
	o.Inputs, o.Died, o.Crashed, o.Largest = o.Inputs+more.Inputs, o.Died+more.Died, o.Crashed+more.Crashed, max(o.Largest, more.Largest)
	if o.Ends == nil {
		o.Ends = map[string]int{}
	}
	for how, n := range more.Ends {
		o.Ends[how] += n
	}
	if more.Slowest > o.Slowest {
		o.Slowest, o.Which = more.Slowest, more.Which
	}
	o.Neighbour = append(o.Neighbour, more.Neighbour...)
}

// row is a row of the table.
func (o *Ordeal) row() string {
	neighbour := "–"
	if all := slices.Sorted(slices.Values(o.Neighbour)); len(all) > 0 {
		neighbour = fmt.Sprintf("%.0f %% [%.0f–%.0f] of its frame rate", 100*all[len(all)/2], 100*all[0], 100*all[len(all)-1])
	}
	return fmt.Sprintf("| %s | %d | %d | %d | %.2f s (%s) | %d MB | %s |", o.Through, o.Inputs, o.Crashed, o.Died, o.Slowest.Seconds(), o.Which, o.Largest>>10, neighbour)
}

const ordealTable = `| mutated inputs of every container and codec, through | inputs | the hub crashed | decoder processes that died | slowest | largest process | the neighbour kept |
|---|---|---|---|---|---|---|
`

// Report logs it. If HOSTILE_TABLE names a file, the ordeals told so far are there as a
// table, and this one is added to it.
func (o *Ordeal) Report(t testing.TB) {
	t.Helper()
	ends := make([]string, 0, len(o.Ends))
	for _, how := range slices.Sorted(maps.Keys(o.Ends)) {
		ends = append(ends, fmt.Sprintf("%s %d", how, o.Ends[how]))
	}
	t.Logf("%s\nends: %s", o.row(), strings.Join(ends, ", "))
	path := os.Getenv("HOSTILE_TABLE")
	if path == "" {
		return
	}
	line, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(path + ".json") //nolint:gosec // G304: the operator names the file; there may be none yet
	all := append(before, append(line, '\n')...)
	var sums []*Ordeal
	for d := json.NewDecoder(bytes.NewReader(all)); d.More(); {
		var one Ordeal
		if err := d.Decode(&one); err != nil {
			t.Fatalf("%s.json: %v", path, err)
		}
		i := slices.IndexFunc(sums, func(s *Ordeal) bool { return s.Through == one.Through })
		if i < 0 {
			i, sums = len(sums), append(sums, &Ordeal{})
		}
		sums[i].add(one)
	}
	var table strings.Builder
	table.WriteString(ordealTable)
	for _, s := range sums {
		table.WriteString(s.row() + "\n")
	}
	for name, text := range map[string]string{path + ".json": string(all), path: table.String()} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

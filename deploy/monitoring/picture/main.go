// Command picture draws the dashboard as an SVG, without Grafana: it asks Prometheus what
// the panels ask, and puts the answers where the panels are.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

type dashboard struct {
	Title  string
	Panels []panel
}

type panel struct {
	Title   string
	GridPos struct{ X, Y, W, H int }
	Targets []struct{ Expr, LegendFormat string }

	FieldConfig struct{ Defaults struct{ Unit string } }
}

func main() {
	file := flag.String("dashboard", "deploy/monitoring/dashboard.json", "the dashboard, as Grafana has it")
	source := flag.String("prometheus", "http://127.0.0.1:9090", "URL of Prometheus")
	back := flag.Duration("last", 2*time.Minute, "how far back")
	step := flag.Duration("step", time.Second, "time between two points")
	flag.Parse()
	if err := run(*file, *source, *back, *step); err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		os.Exit(1)
	}
}

func run(file, source string, back, step time.Duration) error {
	text, err := os.ReadFile(file) //nolint:gosec // G304: the operator names it
	if err != nil {
		return err
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		return err
	}
	to := time.Now()
	q := query{source: source, from: to.Add(-back), to: to, step: step}
	c := newCanvas(d, q)
	for _, p := range d.Panels {
		var lines []line
		for _, t := range p.Targets {
			// All instances, and windows that fit so short a time.
			expr := strings.NewReplacer("$instance", ".+", "[1m]", "[15s]", "[5m]", "["+strconv.Itoa(int(back.Seconds()))+"s]").Replace(t.Expr)
			more, err := q.ask(expr, t.LegendFormat)
			if err != nil {
				return fmt.Errorf("%s: %w", p.Title, err)
			}
			lines = append(lines, more...)
		}
		c.panel(p, lines)
	}
	_, err = io.WriteString(os.Stdout, c.end())
	return err
}

// query is a range of time in Prometheus.
type query struct {
	source   string
	from, to time.Time
	step     time.Duration
}

// line is a series.
type line struct {
	name   string
	points []point
}

type point struct{ at, value float64 }

func (q query) ask(expr, legend string) ([]line, error) {
	a, err := http.PostForm(q.source+"/api/v1/query_range", url.Values{
		"query": {expr}, "start": {stamp(q.from)}, "end": {stamp(q.to)}, "step": {q.step.String()},
	})
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	var body struct {
		Error string
		Data  struct {
			Result []struct {
				Metric map[string]string
				Values [][2]any
			}
		}
	}
	if err := json.NewDecoder(a.Body).Decode(&body); err != nil {
		return nil, err
	}
	if body.Error != "" {
		return nil, errors.New(body.Error)
	}
	var all []line
	for _, r := range body.Data.Result {
		l := line{name: name(legend, r.Metric)}
		for _, v := range r.Values {
			at, _ := v[0].(float64)
			text, _ := v[1].(string)
			if value, err := strconv.ParseFloat(text, 64); err == nil && value == value { // not NaN
				l.points = append(l.points, point{at, value})
			}
		}
		if len(l.points) > 0 {
			all = append(all, l)
		}
	}
	return all, nil
}

// name fills the labels into a legend, as {{label}}.
func name(legend string, labels map[string]string) string {
	for {
		before, rest, found := strings.Cut(legend, "{{")
		label, after, _ := strings.Cut(rest, "}}")
		if !found {
			return strings.TrimSpace(legend)
		}
		legend = before + labels[strings.TrimSpace(label)] + after
	}
}

func stamp(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }

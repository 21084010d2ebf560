package main

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"detections/hub"
)

// settings are everything that can be chosen about a hub. The set of flags is the
// one table of them: each is also an environment variable and a key of the
// configuration file.
type settings struct {
	listen   string
	data     string
	config   string
	hosts    []string
	origins  []string
	logLevel string
	logForm  string

	model      string
	from       modelSource
	ortLibrary string
	providers  []string
	engineInit string
	engineWait time.Duration
	engines    int
	threads    int
	gpu        gpu
	schedule   schedule

	limits hub.Limits
	// sessionsGiven is the setting of limits.Sessions: who gives one knows his memory.
	sessionsGiven *pflag.Flag
	warmWorkers   int
	guard         guard
	store         string
	sync          string
	takeover      bool

	access      access
	fence       fence
	annotations annotations
	webrtc      webrtc

	drainDelay   time.Duration
	drainTimeout time.Duration
}

// flags are the settings as a set of flags with their defaults.
func (s *settings) flags() *pflag.FlagSet {
	f, d := pflag.NewFlagSet("serve", pflag.ContinueOnError), hub.DefaultLimits
	f.SortFlags = false
	f.StringVar(&s.listen, "listen", "127.0.0.1:8080", "address and port to serve HTTP and WebSockets on")
	f.StringVar(&s.data, "data", defaultData(), "`folder` for uploads and state; one process at a time may use it")
	f.StringVar(&s.config, "config", "", "YAML `file` with any of these settings, as name: value")
	f.StringSliceVar(&s.hosts, "allowed-host", nil, "`names` under which the hub may be reached, beside localhost and plain addresses")
	f.StringSliceVar(&s.origins, "allowed-origin", nil, "other `sites` whose pages may use the hub, as https://example.org")
	f.StringVar(&s.logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&s.logForm, "log-format", "auto", "text, json, or auto: text on a terminal, else json")

	f.StringVar(&s.model, "model", "", "ONNX `file` of the model, described by the JSON file beside it if there is one; or a folder, whose newest model it is; or with --loader-url its name there; default: the model that is part of the program")
	s.from.flags(f)
	f.StringVar(&s.ortLibrary, "ort-library", "", "ONNX Runtime's shared library; default: libonnxruntime.so beside the program, else the system's")
	f.StringSliceVar(&s.providers, "providers", []string{"tensorrt", "cuda", "cpu"}, "execution providers, tried in this order")
	f.StringVar(&s.engineInit, "engine-init", "eager", "when the model is loaded: eager, at the start, or lazy, when somebody first needs it")
	f.DurationVar(&s.engineWait, "engine-wait", hub.DefaultEngineWait, "how long a session waits for an engine, a picture at most 30s")
	f.IntVar(&s.engines, "engines", 0, "instances of the model; 0: on the CPU as calibrated, or else one per processor core; one on a GPU")
	f.IntVar(&s.threads, "threads", 0, "threads of one instance on the CPU; 0: as calibrated, or else 1")
	s.gpu.flags(f)
	s.schedule.flags(f)

	f.IntVar(&s.limits.Sessions, "max-sessions", d.Sessions, "most sessions that run at once; if it is not given, as many as there is memory for as well, 64 MiB each beside 256 for the hub")
	s.sessionsGiven = f.Lookup("max-sessions")
	f.IntVar(&s.limits.Pictures, "max-pictures", d.Pictures, "most pictures that are worked on at once")
	f.Var((*byteSize)(&s.limits.Bytes), "max-media", "most bytes of one session's media")
	f.Var((*byteSize)(&s.limits.Picture), "max-picture", "most bytes of one picture")
	f.Var((*byteSize)(&s.limits.Window), "window", "most bytes that a WebSocket client may send beyond the last ack")
	f.Var((*byteSize)(&s.limits.Message), "max-message", "most bytes of one binary WebSocket message")
	f.Var((*byteSize)(&s.limits.Rates.Most), "max-media-rate", "most bytes per second of one session's media; a faster client is slowed down")
	f.Var((*byteSize)(&s.limits.Rates.Least), "min-media-rate", "least bytes per second of a file, over a minute, or its upload counts as cut off; live media may be slower")
	f.DurationVar(&s.limits.Linger, "linger", d.Linger, "how long a session waits for a lost client to come back")
	f.DurationVar(&s.limits.Retention, "retention", d.Retention, "how long an ended session's results are kept")
	f.IntVar(&s.limits.Kept, "max-kept", d.Kept, "most ended sessions whose results are kept")
	capacity(&s.limits, f)
	f.IntVar(&s.warmWorkers, "warm-workers", 2, "decoder processes that are started ahead")

	s.guard.flags(f)

	f.StringVar(&s.store, "store", "disk", "where results are kept: disk, or memory, which ends with the process and with it every session")
	f.StringVar(&s.sync, "sync", "interval", "when results are on disk: interval, within 10 ms, or always, before anyone is told; uploads always are before they are acknowledged")
	f.Var((*byteSize)(&s.limits.Disk), "max-disk", "most bytes of media and results on disk, at which new uploads are refused; 0: 80 % of the file system")
	f.Var((*byteSize)(&s.limits.Free), "min-free-disk", "bytes of the file system that stay free: below, no media is taken; 0: 2 % of it")
	f.BoolVar(&s.takeover, "takeover", false, "take over from the process that has the data directory, once this one is ready")

	s.access.flags(f)
	s.fence.flags(f)
	s.webrtc.flags(f)
	s.annotations.flags(f)

	f.DurationVar(&s.drainDelay, "drain-delay", 0, "how long to go on serving, not ready, after the signal to stop; give load balancers the time to notice")
	f.DurationVar(&s.drainTimeout, "drain-timeout", 25*time.Second, "how long what is in flight may take after that; sessions are suspended and go on in the next process")
	for name, v := range map[string]int64{"max-media": d.Bytes, "max-picture": d.Picture, "window": d.Window, "max-message": d.Message, "max-media-rate": d.Rates.Most, "min-media-rate": d.Rates.Least, "min-upload-rate": s.fence.limits.UploadRate} {
		fl := f.Lookup(name)
		*fl.Value.(*byteSize) = byteSize(v)
		fl.DefValue = fl.Value.String()
	}
	return f
}

// within says that a limit that can be left out, as 0, is out of range.
func within(name string, v, least, most float64) error {
	if v != 0 && !(v >= least && v <= most) { // NaN too
		return fmt.Errorf("%s: expected %v to %v, or 0, got %v", name, least, most, v)
	}
	return nil
}

// validate says what is out of range.
func (s *settings) validate() error {
	atLeast := func(name string, v, least int64) error {
		if v < least {
			return fmt.Errorf("%s: expected at least %d, got %d", name, least, v)
		}
		return nil
	}
	oneOf := func(name, v string, all ...string) error {
		if !slices.Contains(all, v) {
			return fmt.Errorf("%s: expected one of %s, got %q", name, strings.Join(all, ", "), v)
		}
		return nil
	}
	errs := []error{
		oneOf("log-level", s.logLevel, "debug", "info", "warn", "error"),
		oneOf("engine-init", s.engineInit, "eager", "lazy"), atLeast("engine-wait", int64(s.engineWait), 1),
		oneOf("store", s.store, "disk", "memory"), oneOf("sync", s.sync, "interval", "always"),
		oneOf("log-format", s.logForm, "auto", "text", "json"),
		atLeast("engines", int64(s.engines), 0), atLeast("threads", int64(s.threads), 0), atLeast("max-batch", int64(s.schedule.maxBatch), 0), atLeast("max-files", int64(s.limits.Files), 1),
		atLeast("max-sessions", int64(s.limits.Sessions), 1), atLeast("max-pictures", int64(s.limits.Pictures), 1), atLeast("max-media", s.limits.Bytes, 1),
		atLeast("max-picture", s.limits.Picture, 1), atLeast("window", s.limits.Window, 64<<10),
		atLeast("max-message", s.limits.Message, 4<<10), atLeast("linger", int64(s.limits.Linger), int64(time.Millisecond)),
		atLeast("retention", int64(s.limits.Retention), int64(time.Second)), atLeast("max-kept", int64(s.limits.Kept), 1),
		atLeast("warm-workers", int64(s.warmWorkers), 1), atLeast("max-media-rate", s.limits.Rates.Most, 1<<20), atLeast("min-media-rate", s.limits.Rates.Least, 0),
		atLeast("drain-delay", int64(s.drainDelay), 0),
		atLeast("drain-timeout", int64(s.drainTimeout), 0),
		within("max-frame-rate-per-client", s.limits.FrameRate, hub.MinFrameRate, hub.MaxFrameRate),
		within("max-byte-rate-per-client", float64(s.limits.ByteRate), hub.MinByteRate, hub.MaxByteRate),
		s.access.validate(), s.fence.validate(), s.annotations.validate(), s.guard.validate(),
		s.gpu.validate(),
		s.from.validate(s.model),
		s.webrtc.validate(),
	}
	if d := s.schedule.decoders; !(d >= 0 && d <= 1) {
		errs = append(errs, fmt.Errorf("decode-share: expected 0 to 1, got %v", d))
	}
	if r := s.limits.MinRate; !(r > 0 && r <= 1000) || s.limits.PerPrincipal < 0 {
		errs = append(errs, fmt.Errorf("min-rate, max-per-client: expected above 0 to 1000 and at least 0, got %v and %d", r, s.limits.PerPrincipal))
	}
	for _, o := range s.origins { // before anything is begun
		errs = append(errs, http.NewCrossOriginProtection().AddTrustedOrigin(o))
	}
	for _, p := range s.providers {
		errs = append(errs, oneOf("providers", p, "tensorrt", "cuda", "cpu"))
	}
	return errors.Join(errs...)
}

func defaultData() string {
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "detections")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "detections-data"
	}
	return filepath.Join(home, ".local", "state", "detections")
}

// envName is the environment variable of a setting.
func envName(flag string) string {
	return "DETECTIONS_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// complete fills what the command line left open from the environment, and then
// from the configuration file.
func complete(f *pflag.FlagSet, getenv func(string) string) error {
	given := func(fl *pflag.Flag) bool { return fl.Changed }
	var errs []error
	f.VisitAll(func(fl *pflag.Flag) {
		if v := getenv(envName(fl.Name)); v != "" && !given(fl) {
			if err := f.Set(fl.Name, v); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", envName(fl.Name), err))
			}
		}
	})
	if path := f.Lookup("config").Value.String(); path != "" {
		errs = append(errs, readConfig(f, path))
	}
	return errors.Join(errs...)
}

func readConfig(f *pflag.FlagSet, path string) error {
	text, err := os.ReadFile(path) //nolint:gosec // G304: the operator names the file
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	var values map[string]any
	if err := yaml.NewDecoder(bytes.NewReader(text)).Decode(&values); err != nil && len(bytes.TrimSpace(text)) > 0 {
		return fmt.Errorf("config %s: %w", path, err)
	}
	var errs []error
	for name, v := range values {
		fl := f.Lookup(name)
		switch {
		case fl == nil || name == "config":
			errs = append(errs, fmt.Errorf("config %s: there is no setting %q; 'detections settings' lists them", path, name))
		case !fl.Changed:
			if err := f.Set(name, configValue(v)); err != nil {
				errs = append(errs, fmt.Errorf("config %s: %w", path, err))
			}
		}
	}
	return errors.Join(errs...)
}

// configValue is a value of the file as it would be written on the command line.
func configValue(v any) string {
	list, ok := v.([]any)
	if !ok {
		return fmt.Sprint(v)
	}
	items := make([]string, len(list))
	for i, item := range list {
		items[i] = fmt.Sprint(item)
	}
	return strings.Join(items, ",")
}

// byteSize is a number of bytes that can be written as 8GiB.
type byteSize int64

// String implements pflag.Value.
func (b *byteSize) String() string {
	return strings.NewReplacer(" ", "", ".0", "").Replace(humanize.IBytes(uint64(max(0, *b))))
}

// Set implements pflag.Value.
func (b *byteSize) Set(text string) error {
	n, err := humanize.ParseBytes(text)
	if err != nil || n > math.MaxInt64 {
		return fmt.Errorf("expected a number of bytes such as 500MB or 8GiB, got %q", text)
	}
	*b = byteSize(n)
	return nil
}

// Type implements pflag.Value.
func (*byteSize) Type() string { return "bytes" }

func newSettings() *cobra.Command {
	return &cobra.Command{
		Use:   "settings",
		Short: "Print the table of all settings: flag, environment variable, default, meaning",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), settingsTable())
			return err
		},
	}
}

// settingsTable is the table of settings as Markdown.
func settingsTable() string {
	var b strings.Builder
	b.WriteString("| flag and key | environment | default | meaning |\n|---|---|---|---|\n")
	new(settings).flags().VisitAll(func(fl *pflag.Flag) {
		_, usage := pflag.UnquoteUsage(fl)
		def := strings.Trim(fl.DefValue, "[]")
		if fl.Name == "data" {
			def = "$XDG_STATE_HOME/detections or ~/.local/state/detections"
		}
		fmt.Fprintf(&b, "| `--%s` | `%s` | %s | %s |\n", fl.Name, envName(fl.Name), def, usage)
	})
	return b.String()
}

package hub

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"time"

	"detections/infer"
)

// Availability is how far the engine is, in the words of /health.
type Availability string

// The stages: None → DOWNLOADING → CONVERTING → ENABLED, or ERROR.
const (
	None        Availability = "None"
	Downloading Availability = "DOWNLOADING"
	Converting  Availability = "CONVERTING"
	Enabled     Availability = "ENABLED"
	Error       Availability = "ERROR"
)

// Availabilities are all of them.
var Availabilities = []Availability{None, Downloading, Converting, Enabled, Error}

// AI has the engines: it makes them of versions of a model, replaces them while they are
// in use, and gives them to sessions.
//
//	Deploy ─► deployment (a version) ─► crew (a Batcher, on one provider) ◄─ Hold ─ session
//
// New sessions get the crew of the latest deployment. Earlier crews go on for those who
// hold them: a file session keeps its version of the model, everybody else moves. The
// last one out frees the engines.
type AI struct {
	// Static after construction.
	cfg  AIConfig
	load Load
	log  *slog.Logger
	turn chan struct{} // who deploys or rolls back has it
	ctx  context.Context
	stop context.CancelFunc
	work sync.WaitGroup // upgrades, trials, and crews that are being freed

	// Guarded by mu.
	mu      sync.Mutex
	status  AIStatus
	meter   meter         // of the stage
	wanted  chan struct{} // closed when somebody asked for an engine
	isAsked bool
	serving *deployment // that new sessions get; nil: none yet
	former  *former     // what Rollback goes back to; nil: nothing
	kept    []*deployment
	recalls map[infer.ModelKey]*recall
	refused map[string]string // versions that were rolled back, and why
	swaps   Swaps
	changed chan struct{} // closed and renewed when status or engines have changed
	moved   chan struct{} // closed and renewed when holders should acquire anew
	closed  bool
}

// AIConfig says how engines are made and given out. Zero values take the defaults.
type AIConfig struct {
	// Find gives an earlier version of the model again, for a session of an earlier
	// process that had begun with it. nil: there is none.
	Find func(ctx context.Context, key infer.ModelKey) (*Version, error)
	// Refused are versions that were rolled back in an earlier process, by ID, and why.
	// OnRefused is told when that changes; why is empty once one is deployed after all.
	Refused   map[string]string
	OnRefused func(id, why string)
	// Wait is how long a session waits for an engine, a picture at most MaxPictureWait.
	Wait time.Duration
	// Lazy says that nothing is loaded before somebody wants an engine.
	Lazy   bool
	Trial  Trial
	Logger *slog.Logger
}

// The default and the bound of AIConfig.Wait.
const (
	DefaultEngineWait = 5 * time.Minute
	MaxPictureWait    = 30 * time.Second
)

// AIStatus is the state of the engines.
type AIStatus struct {
	Availability Availability
	Percent      float64       // of the stage, −1: not known
	ETA          time.Duration // of the stage, 0: not known
	Reason       string        // of ERROR
	Model        string        // name@version
	Provider     string
	Precision    string
	// Providers are those of the version that serves, best first.
	Providers []ProviderStatus
	Upgrade   *Step // better engines of this version are being made
	Update    *Step // another version is being made ready, or was refused
	Source    *SourceStatus
	// Previous is the version that Rollback goes back to, if that can be done at once.
	Previous string
	// Kept are earlier versions that sessions still use.
	Kept []string
}

// ProviderStatus is what became of an execution provider.
type ProviderStatus struct {
	Name  string        `json:"name"`
	State ProviderState `json:"state"`
	// Reason is why it failed.
	Reason string `json:"reason,omitempty"`
}

// ProviderState is one of the values below.
type ProviderState string

// The states of a provider.
const (
	ProviderServing  ProviderState = "serving"
	ProviderBuilding ProviderState = "building" // engines are made for it, which takes long
	ProviderFailed   ProviderState = "failed"
	ProviderSpare    ProviderState = "spare" // not tried: a better one serves
)

// Step is something that is being made ready beside what serves.
type Step struct {
	To      string        // a provider, or a version
	Stage   Availability  // of an update; ERROR: it was refused
	Percent float64       // −1: not known
	ETA     time.Duration // 0: not known
	Reason  string        // why it was refused
}

// SourceStatus is how it goes with where versions come from.
type SourceStatus struct {
	Name     string
	Phase    string
	Percent  float64 // of a download; −1: not known
	ETA      time.Duration
	Error    string // of the last attempt; empty: it did not fail
	Reason   string // of the error, in a word
	Failures int    // attempts in a row
	Checked  time.Time
	Next     time.Time // when it is asked again; zero: now, or never
}

// Swaps count what became of versions and engines.
type Swaps struct{ Deployed, Refused, RolledBack, Upgraded, UpgradesFailed int64 }

// Load makes the batcher and reports its stages.
type Load func(ctx context.Context, report func(stage Availability, percent float64)) (*infer.Batcher, error)

// NewAI is an AI of one version only, which Run loads.
func NewAI(load Load, log *slog.Logger) *AI {
	a := NewDeployer(AIConfig{Logger: log})
	a.load = load
	return a
}

// NewDeployer is an AI without a version yet: Deploy gives it one.
func NewDeployer(c AIConfig) *AI {
	a := &AI{
		cfg: c, log: c.Logger, turn: make(chan struct{}, 1), status: AIStatus{Availability: None, Percent: -1},
		wanted: make(chan struct{}), recalls: map[infer.ModelKey]*recall{}, refused: maps.Clone(c.Refused),
		changed: make(chan struct{}), moved: make(chan struct{}),
	}
	if a.refused == nil {
		a.refused = map[string]string{}
	}
	if a.cfg.OnRefused == nil {
		a.cfg.OnRefused = func(string, string) {}
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if a.cfg.Wait == 0 {
		a.cfg.Wait = DefaultEngineWait
	}
	a.cfg.Trial = a.cfg.Trial.withDefaults()
	a.ctx, a.stop = context.WithCancel(context.Background())
	return a
}

// Run loads the engines of NewAI. It returns when they are ready or have failed.
func (a *AI) Run(ctx context.Context) {
	b, err := a.load(ctx, a.stage)
	if err != nil {
		if ctx.Err() == nil { // else nobody waits for one any more
			a.log.Error("no engine", "err", err)
		}
		a.Fail(err)
		return
	}
	d := &deployment{version: &Version{Ref: b.Model().Ref()}}
	a.install(d, a.crew(d, b))
}

// stage tells how far the first engines are.
func (a *AI) stage(stage Availability, percent float64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.serving != nil {
		return
	}
	if a.status.Availability != stage {
		a.meter = meter{}
	}
	a.status.Availability, a.status.Percent, a.status.Reason = stage, percent, ""
	a.status.ETA = a.meter.eta(percent)
	a.notify()
}

// Fail says why there is no engine, if there is none.
func (a *AI) Fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.serving == nil {
		a.status.Availability, a.status.Percent, a.status.ETA, a.status.Reason = Error, -1, 0, err.Error()
		a.notify()
	}
}

// notify tells that something has changed. a.mu is held.
func (a *AI) notify() {
	close(a.changed)
	a.changed = make(chan struct{})
}

// Changed is closed when Status may have changed.
func (a *AI) Changed() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changed
}

// sleeps says that the engines are loaded as soon as somebody wants one.
func (a *AI) sleeps() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.cfg.Lazy && !a.isAsked
}

// Wanted is closed when somebody has asked for an engine.
func (a *AI) Wanted() <-chan struct{} { return a.wanted }

// Status is how far the engine is.
func (a *AI) Status() AIStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.status
	if d := a.serving; d != nil {
		s.Providers = d.providers()
		s.Upgrade = d.upgrade
	}
	if a.former != nil {
		s.Previous = a.former.version.Ref
	}
	for _, d := range a.kept {
		s.Kept = append(s.Kept, d.version.Ref)
	}
	return s
}

// SwapCounts are the counters as of now.
func (a *AI) SwapCounts() Swaps {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.swaps
}

// TellSource says how it goes with where versions come from.
func (a *AI) TellSource(s SourceStatus) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.status.Source = &s
	switch {
	case a.serving != nil:
	case s.Error != "" && s.Phase == "failed":
		a.status.Availability, a.status.Percent, a.status.ETA, a.status.Reason = Error, -1, 0, s.Error
	case s.Phase == "downloading":
		a.status.Availability, a.status.Percent, a.status.ETA, a.status.Reason = Downloading, s.Percent, s.ETA, ""
	}
	a.notify()
}

// Model is the model in force, nil while there is none.
func (a *AI) Model() *infer.Model {
	b := a.ready()
	if b == nil {
		return nil
	}
	return b.Model()
}

// Stats are the batcher's counters, zero while there is none.
func (a *AI) Stats() infer.BatcherStats {
	b := a.ready()
	if b == nil {
		return infer.BatcherStats{}
	}
	return b.Stats()
}

// ready is the batcher, nil while there is none.
func (a *AI) ready() *infer.Batcher {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.serving == nil || a.closed {
		return nil
	}
	return a.serving.now.batcher
}

// InUse are the models of which there are engines, or that Rollback goes back to.
func (a *AI) InUse() []infer.ModelKey {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := []*deployment{a.serving}
	if a.former != nil {
		all = append(all, a.former.d)
	}
	var keys []infer.ModelKey
	for _, d := range append(all, a.kept...) {
		if d != nil {
			keys = append(keys, d.key())
		}
	}
	return keys
}

// Close closes the engines. No session may run any more, nor Deploy.
func (a *AI) Close() error {
	a.stop()
	a.work.Wait()
	a.mu.Lock()
	a.closed = true
	all := a.kept
	if a.serving != nil {
		all = append(all, a.serving)
	}
	a.kept, a.serving, a.former = nil, nil, nil
	a.mu.Unlock()
	var errs []error
	for _, d := range all {
		errs = append(errs, d.now.batcher.Close())
	}
	return errors.Join(errs...)
}

// meter guesses when a stage is over.
type meter struct{ since time.Time }

func (m *meter) eta(percent float64) time.Duration {
	switch {
	case m.since.IsZero():
		m.since = time.Now()
		return 0
	case percent <= 0 || percent >= 100:
		return 0
	}
	return time.Duration(float64(time.Since(m.since)) * (100 - percent) / percent)
}

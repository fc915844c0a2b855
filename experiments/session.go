package experiments

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cdclab/cdclab/chaos"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/stack"
)

// session is one Run in progress.
type session struct {
	config   Config
	root     string
	out      string
	scenario string
	plan     *chaos.Plan
	stack    *stack.Stack
	k6       *generator
	run      *reports.Run
	looker   *looker
	// death is what died by itself; a search shares it with its probes.
	death  *atomic.Pointer[string]
	before []consumerMetrics
	log    *os.File
	// length is how long k6 generates load.
	length time.Duration
	// crossed: k6 said by its exit code that a threshold of the script was.
	crossed bool
	// wasRead: the Run has what the ledger and the looks tell.
	wasRead bool
}

// prepare refuses what can be refused before anything is started, and builds the children.
func prepare(ctx context.Context, c Config) (*session, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	s := &session{config: c, death: new(atomic.Pointer[string])}
	var err error
	if s.root, err = FindRoot(); err != nil {
		return nil, err
	}
	if s.scenario, err = c.scenarioPath(s.root); err != nil {
		return nil, err
	}
	if s.plan, err = c.plan(); err != nil {
		return nil, err
	}
	if s.plan != nil && s.config.Stack.Kind == stack.External {
		return nil, fmt.Errorf("plan %s: the lab breaks nothing that it did not start", s.plan.Name)
	}
	s.config.fillFrom(s.plan)
	started := time.Now().UTC()
	if s.out, err = PrepareOut(c.Out, strings.TrimSuffix(filepath.Base(c.Scenario), ".js"), started); err != nil {
		return nil, err
	}
	c.Say("building the consumer and k6")
	if s.config.Programs, err = Build(ctx, s.root, c.Programs, c.buildLog()); err != nil {
		return nil, err
	}
	s.k6 = &generator{program: s.config.Programs.K6, scenario: s.scenario, dir: s.out, env: s.config.environment(), flags: s.config.segmentFlags()}
	return s, s.describe(ctx, started)
}

// describe fills in what is known of the Run before it begins.
func (s *session) describe(ctx context.Context, started time.Time) error {
	name := strings.TrimSuffix(filepath.Base(s.scenario), ".js")
	scenarioSum, err := fileSHA256(s.scenario)
	if err != nil {
		return err
	}
	consumerSum := ""
	if s.config.Stack.Kind != stack.External {
		if consumerSum, err = fileSHA256(s.config.Programs.Consumer); err != nil {
			return err
		}
	}
	scenarios, err := s.k6.inspect(ctx)
	if err != nil {
		return err
	}
	s.length = longest(scenarios)
	commit, dirty := s.commit()
	s.run = &reports.Run{SchemaVersion: reports.SchemaVersion, Tracker: reports.Tracker{AskedShare: 1}}
	s.run.TestRun = reports.TestRun{
		ID:        name + "-" + started.Format("20060102-150405"),
		Scenario:  name,
		StartTime: started,
	}
	s.run.Provenance = reports.Provenance{
		Commit: commit, Dirty: dirty, GoVersion: goVersion(), Host: describeHost(),
		Stack: s.config.Stack.Kind, Seed: s.config.Seed, Config: s.settings(scenarios),
		ScenarioFile: name + ".js", ScenarioSHA256: scenarioSum, ConsumerSHA256: consumerSum,
		Command: s.config.Command,
	}
	return nil
}

// settings are what two runs must share to be compared, with the scenario's own defaults filled in.
func (s *session) settings(scenarios map[string]arrivals) map[string]string {
	settings := map[string]string{}
	for name, load := range scenarios {
		settings[name] = load.String()
	}
	if s.config.Mix != "" {
		settings["mix"] = s.config.Mix
	}
	options, _ := s.config.options() // Validate has read them
	for name, value := range options {
		if text, err := json.Marshal(value); err == nil && value != nil { // it came from JSON; members are sorted now
			settings["option "+name] = string(text)
		}
	}
	if s.config.Segment != "" {
		settings[reports.ConfigSegment] = s.config.Segment
	}
	if s.plan != nil {
		settings["plan"] = s.plan.Name
	}
	if n := s.config.Stack.Consumers; n > 1 {
		settings["consumers"] = strconv.Itoa(n)
	}
	return settings
}

func (s *session) commit() (string, bool) {
	git := func(args ...string) string {
		out, err := exec.Command("git", append([]string{"-C", s.root}, args...)...).Output()
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(out))
	}
	return git("rev-parse", "HEAD"), git("status", "--porcelain") != ""
}

// up brings the stack up, with the proxies that the plan needs.
func (s *session) up(ctx context.Context) error {
	options := s.config.Stack
	options.ConsumerPath = s.config.Programs.Consumer
	options.Say = s.config.Say
	if s.plan != nil {
		options.Proxies = s.plan.Proxies()
	}
	var err error
	if s.log, err = os.Create(filepath.Join(s.out, "stack.log")); err != nil {
		return fmt.Errorf("bring the stack up: %w", err)
	}
	options.Log = s.log
	s.config.Say("bringing the " + options.Kind + " stack up")
	if s.stack, err = stack.Up(ctx, options); err != nil {
		return fmt.Errorf("bring the stack up: %w", errors.Join(err, s.log.Close()))
	}
	p := &s.run.Provenance
	if n := s.stack.Partitions(); n > 0 {
		p.Config["partitions"] = strconv.Itoa(n)
	}
	if profile := s.stack.Profile(); profile != "" {
		p.Config["profile"] = profile
	}
	p.StackVersions, p.MongoKind, p.Tmpfs = s.stack.Versions(), s.stack.MongoKind(), s.stack.Tmpfs()
	s.run.Notes = append(s.run.Notes, s.stack.Notes()...)
	if options.Kind == stack.Embedded {
		s.run.Notes = append(s.run.Notes, "the resources of the lab are those of Kafka and the connector too, which live in its process")
	}
	endpoints := s.stack.Endpoints()
	s.k6.env["CDC_POSTGRES_DSN"] = endpoints.PostgresDSN
	s.k6.env["CDC_MONGO_URI"] = endpoints.MongoURI
	s.k6.env["CDC_MONGO_DATABASE"] = endpoints.MongoDatabase
	return nil
}

// load runs k6, the plan beside it, and the looks at the parts, until k6 ends.
func (s *session) load(ctx context.Context) error {
	s.config.Say("load: " + s.run.TestRun.Scenario)
	var err error
	if s.looker, err = s.newLooker(); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	beside, endBeside := context.WithCancel(ctx)
	cpu := readCPU()
	done := make(chan struct{}, 4)
	shown := newProgress(s.config.Terminal, s.config.JSON, s.k6.statusPath(), s.length, s.looker.lagNow)
	go func() { shown.watch(beside); done <- struct{}{} }()
	go func() { s.looker.watch(beside); done <- struct{}{} }()
	go func() { s.watchForDeaths(beside, stop); done <- struct{}{} }()
	go func() { s.faults(beside); done <- struct{}{} }()
	code, err := s.k6.run(ctx)
	s.crossed = code == k6ThresholdsFailed
	endBeside()
	for range cap(done) {
		<-done
	}
	s.run.Host.CPUBusyPercent, s.run.Host.CPUStealPercent = readCPU().since(cpu)
	return err
}

// newLooker looks at everything of the stack, at the generator and at the machine.
func (s *session) newLooker() (*looker, error) {
	endpoints := s.stack.Endpoints()
	lag, err := newLagProbe(s.stack)
	if err != nil {
		return nil, fmt.Errorf("look at the consumer's lag: %w", err)
	}
	sized := endpoints.MongoDatabase
	if kind := s.stack.MongoKind(); kind == stack.SecantusRS || kind == stack.SecantusPy {
		sized = "" // they read every document to answer
	}
	mongo, err := newMongoProbe(endpoints.MongoURI, sized)
	if err != nil {
		return nil, fmt.Errorf("look at MongoDB: %w", err)
	}
	metrics := map[string][]string{stack.Connector: {endpoints.ConnectorMetricsURL}, stack.Kafka: {endpoints.KafkaMetricsURL}}
	for n, url := range endpoints.ConsumerMetricsURLs {
		metrics[stack.ConsumerName(n+1)] = []string{url}
	}
	host := machineCapacities()
	pids := func() map[string][]int {
		all := map[string][]int{generatorComponent: s.k6.pids()}
		for _, c := range s.stack.Components() {
			all[c.Name()] = c.PIDs()
		}
		return all
	}
	probes := []probe{
		processes{pids, host, hostGroups}, hostProbe{host}, lag,
	}
	if s.config.Prometheus != "" {
		query := cmp.Or(s.config.LagQuery, defaultLagQuery(s.stack.Group()))
		watching, err := newPrometheusProbe(s.config.Prometheus, query, s.config.Say)
		if err != nil {
			return nil, err
		}
		probes = append(probes, watching)
	}
	l := newLooker(probes...)
	l.seldom = []probe{mongo, &postgresProbe{dsn: endpoints.PostgresDSN}, &metricsProbe{urls: metrics}}
	return l, nil
}

// faults waits for the measured load to begin and runs the plan from there.
func (s *session) faults(ctx context.Context) {
	started, err := waitForStart(ctx, s.k6.startedPath())
	if err != nil {
		return
	}
	s.before = s.scrapeConsumers(ctx)
	if s.plan == nil {
		return
	}
	for _, window := range chaos.Run(ctx, s.plan, s.stack, started, s.config.Say) {
		s.run.Faults = append(s.run.Faults, reportFault(window, s.plan))
	}
}

// waitForStart waits for the file that k6 writes at the first measured write: the wall clock of
// the scenario's start, nanoseconds since 1970.
func waitForStart(ctx context.Context, path string) (time.Time, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if text, err := os.ReadFile(path); err == nil {
			if ns, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
				return time.Unix(0, ns), nil
			}
		}
		select {
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		case <-tick.C:
		}
	}
}

// watchForDeaths ends the load when a part dies by itself: what would be measured then is the
// accident. What a fault of the plan kills is not reported here by the stack.
func (s *session) watchForDeaths(ctx context.Context, stop func()) {
	select {
	case <-ctx.Done():
	case sentence := <-s.stack.Died():
		s.death.Store(&sentence)
		stop()
	}
}

// died is the sentence about the part that died by itself, or "".
func (s *session) died() string {
	if sentence := s.death.Load(); sentence != nil {
		return *sentence
	}
	return ""
}

// drain waits until everything that was committed has gone through the pipeline.
func (s *session) drain(ctx context.Context) {
	s.config.Say("waiting for the pipeline to drain")
	ctx, cancel := context.WithTimeout(ctx, s.config.DrainTimeout)
	defer cancel()
	if err := s.stack.Drained(ctx); err != nil {
		s.warn(fmt.Sprintf("not drained within %v: %v", s.config.DrainTimeout, err))
	}
}

// check compares every row with its document; a check that failed leaves "not checked" behind.
func (s *session) check(ctx context.Context) {
	s.config.Say("comparing every row with its document")
	endpoints := s.stack.Endpoints()
	config := chaos.DefaultCheckConfig()
	config.PostgresDSN, config.MongoURI, config.Database = endpoints.PostgresDSN, endpoints.MongoURI, endpoints.MongoDatabase
	config.LedgerPath = s.k6.ledgerPath()
	config.OnlyLedger = s.config.Stack.Kind == stack.External
	found, err := chaos.Check(ctx, config)
	if err != nil {
		s.run.Consistency.Error = err.Error()
		return
	}
	s.run.Consistency = ReportConsistency(found)
}

// collectStack reads what is gone once the stack is down.
func (s *session) collectStack(ctx context.Context) {
	s.run.Stages = append(s.run.Stages, stagesBetween(s.before, s.scrapeConsumers(ctx))...)
}

func (s *session) partial(reason string) {
	s.run.TestRun.Partial = true
	s.warn(reason)
}

func (s *session) warn(text string) { s.run.Warnings = append(s.run.Warnings, text) }

// down ends the stack, in bounded time also when the run was interrupted.
func (s *session) down(ctx context.Context) error {
	var cleaned error
	if s.config.Stack.Kind == stack.External {
		cleaned = s.cleanUp(ctx)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), downTimeout)
	defer cancel()
	return errors.Join(cleaned, s.stack.Down(ctx), s.log.Close())
}

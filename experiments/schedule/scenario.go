package schedule

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/cdclab/cdclab/reports/unit"
)

// k6's executors.
const (
	constantRate     = "constant-arrival-rate"
	rampingRate      = "ramping-arrival-rate"
	constantVUs      = "constant-vus"
	rampingVUs       = "ramping-vus"
	sharedIterations = "shared-iterations"
	perVUIterations  = "per-vu-iterations"
	external         = "externally-controlled"
)

// k6's own defaults.
const (
	defaultUnit        = time.Second
	defaultMaxDuration = 10 * time.Minute
)

// Scenario is a scenario of k6; each executor has some of the members.
type Scenario struct {
	Name     string `json:"-"`
	Executor string `json:"executor"`
	Exec     string `json:"exec"`
	// StartTime is after the test's start.
	StartTime    *length `json:"startTime"`
	GracefulStop *length `json:"gracefulStop"`
	Duration     *length `json:"duration"`
	MaxDuration  *length `json:"maxDuration"`
	// Rate and StartRate are iterations in each TimeUnit.
	Rate       *number `json:"rate"`
	StartRate  *number `json:"startRate"`
	TimeUnit   *length `json:"timeUnit"`
	VUs        *number `json:"vus"`
	StartVUs   *number `json:"startVUs"`
	MaxVUs     *number `json:"maxVUs"`
	Iterations *number `json:"iterations"`
	Stages     []stage `json:"stages"`
}

// stage changes the rate, or the number of VUs, to Target in a straight line.
type stage struct {
	Duration *length `json:"duration"`
	Target   *number `json:"target"`
}

// number is a whole number, printed by k6 as null where the script does not say.
type number int64

func (n *number) or(fallback int64) int64 {
	if n == nil {
		return fallback
	}
	return int64(*n)
}

// length is a duration, printed by k6 as "1m30s" or as null.
type length time.Duration

func (l *length) length() time.Duration { return l.or(0) }

func (l *length) or(fallback time.Duration) time.Duration {
	if l == nil {
		return fallback
	}
	return time.Duration(*l)
}

// UnmarshalJSON reads k6's text.
func (l *length) UnmarshalJSON(text []byte) error {
	var written string
	if err := json.Unmarshal(text, &written); err != nil {
		return err
	}
	read, err := time.ParseDuration(written)
	*l = length(read)
	return err
}

// Open is true if the scenario starts iterations on a schedule, whether earlier ones are done or
// not.
func (s *Scenario) Open() bool { return s.Executor == constantRate || s.isRamp() }

func (s *Scenario) isRamp() bool { return s.Executor == rampingRate }

func (s *Scenario) countsIterations() bool {
	return s.Executor == sharedIterations || s.Executor == perVUIterations
}

// Length is the time in which the scenario starts iterations, at most where the work may be done
// before; the graceful stop comes on top.
func (s *Scenario) Length() time.Duration {
	if s.countsIterations() {
		return s.MaxDuration.or(defaultMaxDuration)
	}
	all := s.Duration.length()
	for _, stage := range s.Stages {
		all += stage.Duration.length()
	}
	return all
}

// Start is when the scenario starts, after the test's start.
func (s *Scenario) Start() time.Duration { return s.StartTime.length() }

// Planned is the number of iterations to start; false where the number depends on the length of an
// iteration.
func (s *Scenario) Planned() (int64, bool) {
	unit := float64(s.TimeUnit.or(defaultUnit))
	switch s.Executor {
	case constantRate:
		// The first iteration is due at once, and none at the very end. The period is a whole
		// number of nanoseconds.
		period := math.Floor(unit / float64(s.Rate.or(1)))
		return int64(math.Ceil(float64(s.Duration.length()) / period)), true
	case rampingRate:
		area, from := 0.0, float64(s.StartRate.or(0))
		for _, stage := range s.Stages {
			to := float64(stage.Target.or(0))
			area += float64(stage.Duration.length()) / unit * (from + to) / 2
			from = to
		}
		return int64(math.Floor(area + 1e-6)), true
	case sharedIterations:
		return s.Iterations.or(1), true
	case perVUIterations:
		return s.Iterations.or(1) * s.VUs.or(1), true
	}
	return 0, false
}

// String is the whole load of the scenario: "constant-arrival-rate 100/s 5m0s after 5s",
// "ramping-arrival-rate 100/s 1m0s to 500/s", "constant-vus 3 VUs 5s". Equal texts are equal loads.
func (s *Scenario) String() string {
	text := s.Executor + " " + s.load()
	for _, stage := range s.Stages {
		target := fmt.Sprint(stage.Target.or(0))
		if s.isRamp() {
			target = s.rate(stage.Target.or(0))
		}
		text += fmt.Sprintf(" %v to %s", stage.Duration.length(), target)
	}
	if start := s.Start(); start > 0 {
		text += fmt.Sprintf(" after %v", start)
	}
	if s.GracefulStop != nil {
		text += fmt.Sprintf(", graceful stop %v", s.GracefulStop.length())
	}
	if s.Exec != "" && s.Exec != "default" {
		text += ", exec " + s.Exec
	}
	return text
}

// load is the part of String that each executor has of its own.
func (s *Scenario) load() string {
	vus := func(n int64) string { return unit.Plural(n, "VU", "VUs") }
	switch s.Executor {
	case constantRate:
		return fmt.Sprintf("%s %v", s.rate(s.Rate.or(0)), s.Length())
	case rampingRate:
		return s.rate(s.StartRate.or(0))
	case constantVUs:
		return fmt.Sprintf("%s %v", vus(s.VUs.or(1)), s.Length())
	case rampingVUs:
		return vus(s.StartVUs.or(1))
	case sharedIterations:
		return fmt.Sprintf("%d by %s within %v", s.Iterations.or(1), vus(s.VUs.or(1)), s.Length())
	case perVUIterations:
		return fmt.Sprintf("%d by each of %s within %v", s.Iterations.or(1), vus(s.VUs.or(1)),
			s.Length())
	case external:
		return fmt.Sprintf("%s of %d %v", vus(s.VUs.or(1)), s.MaxVUs.or(s.VUs.or(1)), s.Length())
	}
	return s.Length().String()
}

// rate is "100/s".
func (s *Scenario) rate(inUnit int64) string {
	return strconv.FormatFloat(s.perSecond(inUnit), 'g', 6, 64) + "/s"
}

func (s *Scenario) perSecond(inUnit int64) float64 {
	return float64(inUnit) / s.TimeUnit.or(defaultUnit).Seconds()
}

package gate

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"time"

	"github.com/cdclab/cdclab/namedfile"
	"github.com/cdclab/cdclab/reports"
)

// Pair is a Run of the base and a Run of the head made one after the other: the values of the
// metrics of both, in the order of Primary.
type Pair struct {
	Base []float64 `json:"base"`
	Head []float64 `json:"head"`
}

// PairsOf returns the Runs that count of a gate, in pairs of a Run of both sides in turn.
func PairsOf(attempts []Attempt) (pairs []Pair) {
	var base, head [][]float64
	for _, a := range attempts {
		if a.Verdict.Status != reports.Pass || a.Run == nil {
			continue
		}
		var values []float64
		for _, m := range Primary {
			if value, known := m.Read(a.Run); known {
				values = append(values, value)
			}
		}
		switch {
		case len(values) < len(Primary):
		case a.Side == Base:
			base = append(base, values)
		default:
			head = append(head, values)
		}
	}
	for i := range min(len(base), len(head)) {
		pairs = append(pairs, Pair{base[i], head[i]})
	}
	return pairs
}

// Trial is a series of real pairs with a known truth.
type Trial struct {
	// Planted says how the head was slowed down, "" for the same build on both sides.
	Planted string `json:"planted"`
	Pairs   []Pair `json:"pairs"`
	// Failed, Extended and Gates count the real gates of which the pairs are.
	Gates    int `json:"gates"`
	Failed   int `json:"failed"`
	Extended int `json:"extended"`
	// Void counts the Runs in doubt.
	Void int `json:"void"`
}

// Calibration is what real Runs on a machine say of the rule, and the content of calibration.json.
type Calibration struct {
	SchemaVersion int          `json:"schemaVersion"`
	Rule          Rule         `json:"rule"`
	Metrics       []string     `json:"metrics"`
	Host          reports.Host `json:"host"`
	Conditions    string       `json:"conditions"`
	Commit        string       `json:"commit"`
	StartTime     time.Time    `json:"startTime"`
	Minutes       float64      `json:"minutes"`
	Trials        []Trial      `json:"trials"`
	// Missing says why the table is not whole, "" for a whole table: then nothing is known of the
	// machine.
	Missing string `json:"missing,omitempty"`
	Rates   Rates  `json:"rates"`
}

// NewCalibration is a Calibration without a Trial.
func NewCalibration(rule Rule) *Calibration {
	c := &Calibration{SchemaVersion: SchemaVersion, Rule: rule}
	for _, m := range Primary {
		c.Metrics = append(c.Metrics, m.Name)
	}
	return c
}

// ReadCalibration reads a calibration.json. The error names the file and what is wrong.
func ReadCalibration(path string) (*Calibration, error) {
	text, err := namedfile.Read(path, namedfile.Small)
	if err != nil {
		return nil, err
	}
	var c Calibration
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	for i, trial := range c.Trials {
		for j, pair := range trial.Pairs {
			if len(pair.Base) != len(c.Metrics) || len(pair.Head) != len(c.Metrics) {
				return nil, fmt.Errorf("read %s: trials[%d].pairs[%d]: want a value of each of "+
					"the %d metrics for both sides", path, i, j, len(c.Metrics))
			}
		}
	}
	return &c, nil
}

// Precedes returns true if the other Calibration can go on with the Trials of c: no Trial is there,
// or machine, conditions, rule, metrics and schema version are the same.
func (c *Calibration) Precedes(other *Calibration) bool {
	return len(c.Trials) == 0 || c.SchemaVersion == other.SchemaVersion && c.Rule == other.Rule &&
		slices.Equal(c.Metrics, other.Metrics) && c.Conditions == other.Conditions &&
		c.Host.Fingerprint == other.Host.Fingerprint
}

// Trial returns the trial of a planted slowdown so far, "" for the same build.
func (c *Calibration) Trial(planted string) Trial {
	for _, trial := range c.Trials {
		if trial.Planted == planted {
			return trial
		}
	}
	return Trial{Planted: planted}
}

// Rates are error rates of the rule.
type Rates struct {
	// Runs is the number of real Runs of the same build behind the rates.
	Runs int    `json:"runs"`
	Rows []Rate `json:"rows"`
	// Smallest is the least change, in per cent, caught with a power of 80 %, by metric; 0 where no
	// change up to 200 % is.
	Smallest map[string]float64 `json:"smallestPercent"`
	// Noise is the scatter of single Runs in per cent, by metric.
	Noise map[string]float64 `json:"noisePercent"`
}

// Rate counts the gates of one truth.
type Rate struct {
	// Truth says what is planted, and Source where the gates come from.
	Truth    string `json:"truth"`
	Source   Source `json:"source"`
	Gates    int    `json:"gates"`
	Failed   int    `json:"failed"`
	Extended int    `json:"extended"`
}

// Source says where the gates of a Rate come from.
type Source string

// The sources, from the strongest evidence to the weakest.
const (
	// Real gates were run.
	Real Source = "real"
	// Drawn gates are drawn again by pairs, from real Runs of both builds.
	Drawn Source = "drawn from real runs"
	// Scaled gates are drawn from real Runs of one build, with a metric of the head multiplied.
	Scaled Source = "real runs, head scaled"
)

// SameBuild is the truth of a gate that must not fail.
const SameBuild = "same build"

// scaledPercents are the changes planted by multiplication.
var scaledPercents = []float64{10, 20, 30}

// mostPercent is the largest change planted by multiplication.
const mostPercent = 200

// Measure computes Rates from the Trials: gates gates are drawn for each truth.
func (c *Calibration) Measure(gates int) {
	c.Rates = Rates{Smallest: map[string]float64{}, Noise: map[string]float64{}}
	for _, trial := range c.Trials {
		if c.Missing == "" && len(trial.Pairs) < c.Rule.Runs {
			c.Missing = fmt.Sprintf("%d sound pairs of runs of %s, at least %d are needed",
				len(trial.Pairs), cmp.Or(trial.Planted, SameBuild), c.Rule.Runs)
		}
	}
	for _, trial := range c.Trials {
		truth := cmp.Or(trial.Planted, SameBuild)
		if trial.Gates > 0 {
			c.Rates.Rows = append(c.Rates.Rows,
				Rate{truth, Real, trial.Gates, trial.Failed, trial.Extended})
		}
		if len(trial.Pairs) == 0 {
			continue
		}
		c.Rates.Rows = append(c.Rates.Rows, c.draw(trial, truth, Drawn, gates, nil))
		if trial.Planted == "" {
			c.Rates.Runs = 2 * len(trial.Pairs)
			c.scale(trial, gates)
		}
	}
}

// scale plants changes in pairs of the same build.
func (c *Calibration) scale(trial Trial, gates int) {
	for i, metric := range c.Metrics {
		var values []float64
		for _, pair := range trial.Pairs {
			values = append(values, pair.Base[i], pair.Head[i])
		}
		c.Rates.Noise[metric] = noisePercent(values)
		planted := func(percent float64) Rate {
			factors := slices.Repeat([]float64{1}, len(c.Metrics))
			factors[i] += percent / 100
			return c.draw(trial, fmt.Sprintf("%s %+g %%", metric, percent), Scaled, gates, factors)
		}
		for _, percent := range scaledPercents {
			c.Rates.Rows = append(c.Rates.Rows, planted(percent))
		}
		smallest := sort.Search(mostPercent+1, func(percent int) bool {
			row := planted(float64(percent))
			return 10*row.Failed >= 8*row.Gates
		})
		if smallest <= mostPercent {
			c.Rates.Smallest[metric] = float64(smallest)
		}
	}
}

// draw makes gates from the pairs of a trial, drawn with replacement, with the head's metrics
// multiplied by factors. Which Run of a pair of the same build is the head is drawn, too.
func (c *Calibration) draw(trial Trial, truth string, source Source, gates int,
	factors []float64) Rate {
	random := rand.New(rand.NewPCG(3, 4))
	rate := Rate{Truth: truth, Source: source, Gates: gates}
	for range gates {
		base := make([][]float64, len(c.Metrics))
		head := make([][]float64, len(c.Metrics))
		for range c.Rule.MoreRuns {
			pair := trial.Pairs[random.IntN(len(trial.Pairs))]
			b, h := pair.Base, pair.Head
			if trial.Planted == "" && random.IntN(2) == 0 {
				b, h = h, b
			}
			for i := range c.Metrics {
				factor := 1.0
				if factors != nil {
					factor = factors[i]
				}
				base[i], head[i] = append(base[i], b[i]), append(head[i], factor*h[i])
			}
		}
		extended, failed := c.Rule.decide(base, head)
		rate.Extended += count(extended)
		rate.Failed += count(failed)
	}
	return rate
}

func count(is bool) int {
	if is {
		return 1
	}
	return 0
}

// decide is the rule on MoreRuns values a metric and side: extended is true if the first Runs are
// suspicious, failed if all are worse.
func (r Rule) decide(base, head [][]float64) (extended, failed bool) {
	for i := range base {
		d := differWithoutInterval(base[i][:r.Runs], head[i][:r.Runs])
		extended = extended || r.worse(d.Percent, d.P, r.Suspicion)
	}
	if !extended {
		return false, false
	}
	var p []float64
	for i := range base {
		p = append(p, mannWhitney(base[i], head[i]))
	}
	for i, adjusted := range adjustHolm(p) {
		percent := percentOf(Median(base[i]), Median(head[i]))
		failed = failed || r.worse(percent, adjusted, r.Alpha)
	}
	return true, failed
}

// worse returns true if a change of so many per cent is more than noise, at a level of p.
func (r Rule) worse(percent, p, level float64) bool {
	return p < level && percent >= r.LeastPercent
}

// Find returns the row of a truth from a source, nil for none.
func (r *Rates) Find(truth string, source Source) *Rate {
	i := slices.IndexFunc(r.Rows, func(row Rate) bool {
		return row.Truth == truth && row.Source == source
	})
	if i < 0 {
		return nil
	}
	return &r.Rows[i]
}

package reports

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/cdclab/cdclab/reports/histogram"
)

// Validate checks that the Run could be true; the error names the wrong member. Validate does not
// judge: a Run full of failures is valid.
func (r *Run) Validate() error {
	if r.SchemaVersion < oldestVersion || r.SchemaVersion > SchemaVersion {
		return fmt.Errorf("schemaVersion: got %d, want %d or %d", r.SchemaVersion, oldestVersion,
			SchemaVersion)
	}
	if err := r.validateNumbers(); err != nil {
		return err
	}
	for _, part := range parts {
		if err := part.validate(r); err != nil {
			return err
		}
	}
	return nil
}

// parts are the parts of a Run with a check beside the check of the numbers. empty makes the part
// sound by leaving out what cannot be true.
var parts = []struct {
	validate func(*Run) error
	empty    func(*Run)
}{
	{(*Run).validateTestRun, func(r *Run) {
		t := &r.TestRun
		t.ID, t.Scenario = cmp.Or(t.ID, "unknown"), cmp.Or(t.Scenario, "unknown")
		r.Provenance.Stack = cmp.Or(r.Provenance.Stack, "unknown")
		if t.StartTime.IsZero() {
			t.StartTime = time.Now().UTC()
		}
		t.DurationSeconds = min(t.DurationSeconds, maxDurationSeconds)
		t.EndTime = slices.MaxFunc([]time.Time{t.StartTime, t.EndTime}, time.Time.Compare)
	}},
	{(*Run).validateVerdict, func(r *Run) {
		r.Thresholds = Thresholds{Passed: true}
		r.Verdict = Verdict{Status: Pass} // Mend makes it unknown
	}},
	{(*Run).validateSummary, func(r *Run) {
		s := &r.Summary
		s.Latency, s.Errors.Rate, s.Late = Latency{}, 0, min(s.Late, s.Timeouts)
	}},
	{(*Run).validateStages, func(r *Run) { r.Stages = nil }},
	{(*Run).validateSeries, func(r *Run) { r.Series = nil }},
	{(*Run).validateHistograms, func(r *Run) { r.Histograms = histogram.Set{} }},
	{(*Run).validateConsistency, func(r *Run) { r.Consistency = Consistency{} }},
	{(*Run).validateFaults, func(r *Run) { r.Faults, r.Deliveries = nil, Deliveries{} }},
	{(*Run).validateMeasuring, func(r *Run) {
		r.Tracker.TrackedShare, r.Tracker.AskedShare, r.Floor = 0, 1, Floor{}
	}},
	{(*Run).validateResources, func(r *Run) { r.Resources = nil }},
	{(*Run).validateLooks, func(r *Run) { r.Looks = Looks{} }},
}

// mostMended is how many numbers Mend replaces one by one.
const mostMended = 100

// Mend makes a Run storable: what Validate refuses becomes 0, or the part is left out, because one
// wrong member must not cost the rest of a measured Run. LeftOut names each change, and the verdict
// of a mended Run is at best unknown.
func (r *Run) Mend() {
	r.SchemaVersion = SchemaVersion
	wrong := r.mendNumbers()
	if len(wrong) == mostMended { // too many for the lists to be any good
		r.Stages, r.Series, r.Faults, r.Resources, r.Growths = nil, nil, nil, nil, nil
		r.Looks, r.Breakpoint = Looks{}, Breakpoint{}
		r.Thresholds, r.Clock.Offsets = Thresholds{Passed: true}, nil
		wrong = append(wrong, r.mendNumbers()...)
	}
	for _, part := range parts {
		if err := part.validate(r); err != nil {
			wrong = append(wrong, err.Error())
			part.empty(r)
		}
	}
	if len(wrong) > 0 {
		r.LeftOut = append(r.LeftOut, wrong...)
		r.Verdict = r.Verdict.Merge(r.leftOutDoubt())
	}
}

// The greatest believable numbers. Beyond these bounds arithmetic and the axes of the charts break
// down.
const (
	maxNumber    = 1e15
	maxLatencyMs = 1e9
	// maxDurationSeconds is 30 years, which a time.Duration holds.
	maxDurationSeconds = 1e9
)

// mendNumbers replaces at most mostMended bad numbers by 0, and returns a sentence about each.
func (r *Run) mendNumbers() (wrong []string) {
	for range mostMended {
		path, number, bad := findBadNumber(reflect.ValueOf(r).Elem(), "")
		if !bad {
			return wrong
		}
		wrong = append(wrong, badNumber(path, number).Error())
		if number.CanSet() {
			number.SetZero()
		} else { // a map's values cannot be set: the counts of the check
			r.Consistency = Consistency{Error: "its counts cannot be true"}
		}
	}
	return wrong
}

// validateNumbers checks each number of the Run: from 0 to maxNumber, but for a member with the tag
// `number:"any"`, which may be as far below 0, the seed, and a member with `number:"-1"`, where -1
// means that the number is not known.
func (r *Run) validateNumbers() error {
	if path, number, bad := findBadNumber(reflect.ValueOf(*r), ""); bad {
		return badNumber(path, number)
	}
	return nil
}

func badNumber(path string, number reflect.Value) error {
	value := number.Interface()
	if number.CanInt() {
		value = float64(number.Int())
	}
	return fmt.Errorf("%s: got %v, want a number from 0 to %g", path[1:], value, maxNumber)
}

// findBadNumber returns the first bad number in a value and the path to the number, such as
// ".series[3].offered".
func findBadNumber(v reflect.Value, allowed string) (path string, number reflect.Value, bad bool) {
	switch {
	case v.CanInt():
		return "", v, allowed != "any" && !believable(float64(v.Int()), allowed)
	case v.CanFloat():
		return "", v, !believable(v.Float(), allowed)
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			if path, number, bad = findBadNumber(v.Index(i), allowed); bad {
				return fmt.Sprintf("[%d]%s", i, path), number, true
			}
		}
	case v.Kind() == reflect.Map:
		for at := v.MapRange(); at.Next(); {
			if path, number, bad = findBadNumber(at.Value(), allowed); bad {
				return "." + at.Key().String() + path, number, true
			}
		}
	case v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[time.Time]():
		for i := range v.NumField() {
			if path, number, bad = findBadNumber(v.Field(i), ""); !bad {
				continue
			}
			field := v.Type().Field(i) // only now, because the tags of all fields take time
			if tag := field.Tag.Get("number"); tag != "" {
				if path, number, bad = findBadNumber(v.Field(i), tag); !bad {
					continue
				}
			}
			if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" {
				path = "." + name + path
			}
			return path, number, true
		}
	}
	return "", reflect.Value{}, false
}

// believable is false for what JSON cannot hold, whatever is allowed.
func believable(value float64, allowed string) bool {
	return value >= 0 && value <= maxNumber || allowed == "-1" && value == -1 ||
		allowed == "any" && value < 0 && value >= -maxNumber
}

func oneOf[T ~string](name string, got T, want ...T) error {
	if !slices.Contains(want, got) {
		return fmt.Errorf("%s: got %q, want one of %q", name, got, want)
	}
	return nil
}

func share(name string, value float64) error {
	if !(value >= 0 && value <= 1) {
		return fmt.Errorf("%s: got %v, want a share between 0 and 1", name, value)
	}
	return nil
}

func (r *Run) validateTestRun() error {
	t := &r.TestRun
	switch {
	case t.ID == "":
		return fmt.Errorf("testRun.id: empty")
	case t.Scenario == "":
		return fmt.Errorf("testRun.scenario: empty")
	case t.StartTime.IsZero():
		return fmt.Errorf("testRun.startTime: empty")
	case t.DurationSeconds > maxDurationSeconds:
		return fmt.Errorf("testRun.durationSeconds: got %v, want at most %g", t.DurationSeconds,
			maxDurationSeconds)
	case t.EndTime.Before(t.StartTime):
		return fmt.Errorf("testRun.endTime: %v is before startTime %v", t.EndTime, t.StartTime)
	case r.Provenance.Stack == "":
		return fmt.Errorf("provenance.stack: empty")
	}
	return nil
}

func (r *Run) validateVerdict() error {
	if err := oneOf("verdict.status", r.Verdict.Status, Pass, Fail, Unknown); err != nil {
		return err
	}
	if r.Verdict.Status != Pass && len(r.Verdict.Reasons) == 0 {
		return fmt.Errorf("verdict.reasons: %s without a reason", r.Verdict.Status)
	}
	if r.Thresholds.Passed != (len(r.Thresholds.Violations) == 0) {
		return fmt.Errorf("thresholds.passed: %t with %d violations",
			r.Thresholds.Passed, len(r.Thresholds.Violations))
	}
	for i, v := range r.Thresholds.Violations {
		if v.Name == "" {
			return fmt.Errorf("thresholds.violations[%d].name: empty", i)
		}
	}
	return nil
}

func (r *Run) validateSummary() error {
	s := &r.Summary
	if s.Late > s.Timeouts {
		return fmt.Errorf("summary.late: %d of %d timeouts", s.Late, s.Timeouts)
	}
	if err := share("summary.errors.rate", s.Errors.Rate); err != nil {
		return err
	}
	return s.Latency.validate("summary.latency")
}

func (l *Latency) validate(path string) error {
	if l.Max > maxLatencyMs {
		return fmt.Errorf("%s.max: got %v ms, want at most %g", path, l.Max, maxLatencyMs)
	}
	if l.P50 > l.P95 || l.P95 > l.P99 || l.P99 > l.Max {
		return fmt.Errorf("%s: p50 %v, p95 %v, p99 %v, max %v do not ascend",
			path, l.P50, l.P95, l.P99, l.Max)
	}
	return nil
}

func (r *Run) validateStages() error {
	seen := map[[3]string]bool{}
	for i := range r.Stages {
		s, path := &r.Stages[i], fmt.Sprintf("stages[%d]", i)
		key := [3]string{s.Stage, s.Entity, s.Operation}
		if seen[key] {
			return fmt.Errorf("%s: a second row for %q", path, key)
		}
		seen[key] = true
		if err := oneOf(path+".stage", s.Stage, ScheduleDelay, Commit, Pipeline, E2E, E2ESteady,
			SourceToConnector, ConnectorToKafka, KafkaToConsumer, ConsumerToApplied); err != nil {
			return err
		}
		if err := s.Latency.validate(path); err != nil {
			return err
		}
		if s.Histogram == "" {
			continue
		}
		histogram, err := DecodeHistogram(s.Histogram)
		if err != nil {
			return fmt.Errorf("%s.histogram: %w", path, err)
		}
		if histogram.TotalCount() != s.Count {
			return fmt.Errorf("%s.histogram: has %d samples, count is %d",
				path, histogram.TotalCount(), s.Count)
		}
	}
	if row, ok := r.StageOf(E2E, "", ""); ok && row.Latency != r.Summary.Latency {
		return fmt.Errorf("summary.latency: %+v, in stages %+v", r.Summary.Latency, row.Latency)
	}
	return nil
}

func (r *Run) validateSeries() error {
	last := -1
	for i, s := range r.Series {
		path := fmt.Sprintf("series[%d]", i)
		if s.Second <= last || s.Second > MaxSecond {
			return fmt.Errorf("%s.second: %d after %d", path, s.Second, last)
		}
		last = s.Second
		latency := Latency{P50: s.P50, P95: s.P95, P99: s.P99, Max: s.Max}
		if err := latency.validate(path); err != nil {
			return err
		}
		if s.Histogram == "" {
			continue
		}
		histogram, err := DecodeHistogram(s.Histogram)
		if err != nil {
			return fmt.Errorf("%s.histogram: %w", path, err)
		}
		if n := histogram.TotalCount(); n > maxNumber {
			return fmt.Errorf("%s.histogram: has %d samples", path, n)
		}
	}
	return nil
}

func (r *Run) validateConsistency() error {
	c := &r.Consistency
	if c.Checked && c.Error != "" {
		return fmt.Errorf("consistency.checked: true with the error %q", c.Error)
	}
	if len(c.Examples) > MaxExamples {
		return fmt.Errorf("consistency.examples: %d, want at most %d", len(c.Examples), MaxExamples)
	}
	for _, status := range slices.Sorted(maps.Keys(c.Counts)) {
		if err := oneOf("consistency.counts", status, RowStatuses...); err != nil {
			return err
		}
	}
	for i, e := range c.Examples {
		path := fmt.Sprintf("consistency.examples[%d].status", i)
		if err := oneOf(path, e.Status, RowStatuses...); err != nil {
			return err
		}
	}
	return nil
}

func (r *Run) validateMeasuring() error {
	if err := share("tracker.trackedShare", r.Tracker.TrackedShare); err != nil {
		return err
	}
	if err := share("tracker.askedShare", r.Tracker.AskedShare); err != nil {
		return err
	}
	if r.Tracker.AskedShare == 0 {
		return fmt.Errorf("tracker.askedShare: 0, want the share that the sampling was set to")
	}
	f := &r.Floor
	floor := Latency{P50: f.P50, P95: f.P95, P99: f.P99, Max: f.P99}
	return floor.validate("floor")
}

func (r *Run) validateResources() error {
	for i, c := range r.Resources {
		path := fmt.Sprintf("resources[%d].", i)
		if c.Component == "" {
			return fmt.Errorf("%scomponent: empty", path)
		}
	}
	return nil
}

// validateLooks: as many values as looks.
func (r *Run) validateLooks() error {
	if !slices.IsSorted(r.Looks.Seconds) {
		return fmt.Errorf("looks.seconds: not in order")
	}
	for i, g := range r.Looks.Gauges {
		path := fmt.Sprintf("looks.gauges[%d]", i)
		if g.Component == "" || g.Name == "" {
			return fmt.Errorf("%s: component %q, name %q, want both", path, g.Component, g.Name)
		}
		if len(g.Values) != len(r.Looks.Seconds) {
			return fmt.Errorf("%s.values: %d of them at %d looks", path,
				len(g.Values), len(r.Looks.Seconds))
		}
	}
	return nil
}

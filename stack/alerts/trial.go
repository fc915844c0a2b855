package alerts

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// step is the time between two samples and between two evaluations of a trial.
const step = 15 * time.Second

// Trial makes promtool see an alert fire: at the right time while the series are Hot, not before,
// not while the series are Cool, and no longer when all is calm again.
type Trial struct {
	Hot, Cool []Series
	// Length is the time of Hot, 0 for enough to fire.
	Length time.Duration
	// After is the time until the query sees Hot: a rate needs two samples.
	After time.Duration
	// Clears is the time from the end of Hot to the query's last sight of Hot.
	Clears time.Duration
	// Labels are those of the alert besides the severity and the component.
	Labels map[string]string
}

// Series is one series of a Trial: its values while hot and afterwards, calm.
type Series struct {
	Name string
	// first and more are the first hot value, and what each further sample adds.
	first, more float64
	calm        float64
	// goesOn marks a counter: calm is the last value. An absent series has no value while hot.
	goesOn, absent bool
}

func gauge(name string, hot, calm float64) Series {
	return Series{Name: name, first: hot, calm: calm}
}

// rising grows from a value by more with each sample, and is 0 when calm.
func rising(name string, from, more float64) Series {
	return Series{Name: name, first: from, more: more}
}

// counter grows by more with each sample.
func counter(name string, more float64) Series {
	return Series{Name: name, more: more, goesOn: true}
}

// born is a counter with a value in the first sample, and the same value ever after.
func born(name string, value float64) Series {
	return Series{Name: name, first: value, goesOn: true}
}

// missing is not there while hot.
func missing(name string, calm float64) Series {
	return Series{Name: name, absent: true, calm: calm}
}

// latencies are the buckets of a histogram with a quantile at so many seconds.
func latencies(q, seconds float64) []Series {
	bucket := func(le string, more float64) Series {
		return counter(fmt.Sprintf(`cdc_consumer_stage_seconds_bucket{stage="source_to_applied",`+
			`le=%q}`, le), more)
	}
	return []Series{bucket(fmt.Sprintf("%g", seconds), 100*q),
		bucket(fmt.Sprintf("%g", 2*seconds), 100), bucket("+Inf", 100)}
}

// values writes the series in promtool's notation: hot for so many steps, then calm.
func (s Series) values(hot, calm int) string {
	text := fmt.Sprintf("%g+%gx%d", s.first, s.more, hot)
	if s.absent {
		text = fmt.Sprintf("_x%d", hot+1)
	}
	after := s.calm
	if s.goesOn {
		after = s.first + s.more*float64(hot)
	}
	return text + fmt.Sprintf(" %g+0x%d", after, calm)
}

// The files of promtool test rules.
// https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/
type (
	trialFile struct {
		RuleFiles []string     `yaml:"rule_files"`
		Interval  string       `yaml:"evaluation_interval"`
		Tests     []trialGroup `yaml:"tests"`
	}
	trialGroup struct {
		Name     string        `yaml:"name"`
		Interval string        `yaml:"interval"`
		Series   []trialSeries `yaml:"input_series"`
		Looks    []trialLook   `yaml:"promql_expr_test"`
	}
	trialSeries struct {
		Series string `yaml:"series"`
		Values string `yaml:"values"`
	}
	trialLook struct {
		Expr    string        `yaml:"expr"`
		At      string        `yaml:"eval_time"`
		Samples []trialSample `yaml:"exp_samples"`
	}
	trialSample struct {
		Labels string  `yaml:"labels"`
		Value  float64 `yaml:"value"`
	}
)

// trials returns the tests of all alerts: each hot, and each just below.
func trials(all []Alert, rules string) trialFile {
	file := trialFile{RuleFiles: []string{rules}, Interval: promDuration(step)}
	for _, a := range all {
		if !a.Loki {
			file.Tests = append(file.Tests, a.hotTrial(), a.coolTrial())
		}
	}
	return file
}

func (a Alert) length() time.Duration {
	if a.Trial.Length > 0 {
		return a.Trial.Length
	}
	return a.Trial.After + a.For + 2*time.Minute
}

func (a Alert) hotTrial() trialGroup {
	length, due := a.length(), a.Trial.After+a.For
	group := trialGroup{Name: a.Name + " fires, and ends", Interval: promDuration(step)}
	calm := a.Trial.Clears + 2*step
	for _, s := range a.Trial.Hot {
		group.Series = append(group.Series, trialSeries{s.Name,
			s.values(int(length/step), int(calm/step))})
	}
	if due > 0 {
		group.Looks = append(group.Looks, a.look(due-step, false))
	}
	group.Looks = append(group.Looks, a.look(due, true), a.look(length+step+calm, false))
	return group
}

func (a Alert) coolTrial() trialGroup {
	length := a.length()
	group := trialGroup{Name: a.Name + " does not fire just below", Interval: promDuration(step)}
	for _, s := range a.Trial.Cool {
		group.Series = append(group.Series, trialSeries{s.Name, s.values(int(length/step), 0)})
	}
	group.Looks = []trialLook{a.look(a.Trial.After+a.For, false), a.look(length, false)}
	return group
}

// look asks whether the alert fires at a time, and only the expected one.
func (a Alert) look(at time.Duration, fires bool) trialLook {
	look := trialLook{At: promDuration(at), Samples: []trialSample{},
		Expr: fmt.Sprintf(`ALERTS{alertname=%q,alertstate="firing"}`, a.Name)}
	if !fires {
		return look
	}
	labels := a.labels()
	maps.Copy(labels, a.Trial.Labels)
	labels["alertname"], labels["alertstate"] = a.Name, "firing"
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		pairs = append(pairs, fmt.Sprintf("%s=%q", name, labels[name]))
	}
	look.Samples = []trialSample{{"ALERTS{" + strings.Join(pairs, ",") + "}", 1}}
	return look
}

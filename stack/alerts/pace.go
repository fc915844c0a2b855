package alerts

import (
	"fmt"
	"regexp"
	"time"

	"github.com/goccy/go-yaml"
)

// Pace says how the rules are loaded beside a run.
type Pace struct {
	// Faster divides every alert's time and every window of a query, so that an alert of half an
	// hour fires in a run of minutes; 0 and 1 leave the production numbers. Limits stay.
	Faster int
	// ZeroTolerance turns AnyError on.
	ZeroTolerance bool
}

// Rules returns the rule files of a Prometheus at the pace, by their names.
func (p Pace) Rules() (map[string]string, error) {
	all := All()
	for i := range all {
		all[i] = p.shorten(all[i])
	}
	made := switches()
	if p.ZeroTolerance {
		made.Groups[0].Rules[0].Expr = "vector(1)"
	}
	files := map[string]string{}
	for name, content := range map[string]ruleFile{
		"alerts.yaml": prometheusRules(all), "switches.yaml": made,
	} {
		text, err := yaml.MarshalWithOptions(content, yaml.UseLiteralStyleIfMultiline(true))
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", name, err)
		}
		files[name] = string(text)
	}
	return files, nil
}

// least is the shortest window in which a rate sees several of Fast's samples.
const least = 5 * time.Second

// Fast is the time between two samples, and between two evaluations, of shortened rules.
const Fast = time.Second

// windows are the durations of a query: [1m], and offset 5m.
var windows = regexp.MustCompile(`(\[|offset )(\d+[ms])`)

// shorten divides the alert's times.
func (p Pace) shorten(a Alert) Alert {
	if p.Faster <= 1 {
		return a
	}
	divided := func(d time.Duration) time.Duration {
		return max(least, (d / time.Duration(p.Faster)).Round(time.Second))
	}
	inQuery := func(query string) string {
		return windows.ReplaceAllStringFunc(query, func(found string) string {
			parts := windows.FindStringSubmatch(found)
			d, err := time.ParseDuration(parts[2])
			if err != nil { // never: the pattern has a number and a unit
				return found
			}
			return parts[1] + promDuration(divided(d))
		})
	}
	if a.For > 0 {
		a.For = divided(a.For)
	}
	a.Query = inQuery(a.Query)
	more := map[string]string{}
	for name, query := range a.More {
		more[name] = inQuery(query)
	}
	a.More = more
	return a
}

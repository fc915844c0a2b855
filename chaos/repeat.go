package chaos

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Traffic is what is offered while the Faults come. The zero value of a member leaves it to the
// scenario, and whoever runs the Plan may ask for other values.
type Traffic struct {
	// Rate is in operations per second.
	Rate int `yaml:"rate"`
	// Duration is the length of the measured load.
	Duration time.Duration `yaml:"duration"`
}

// UnmarshalYAML decodes the load mapping.
func (l *Traffic) UnmarshalYAML(node ast.Node) error {
	type plain Traffic
	if err := decode(node, (*plain)(l), "duration"); err != nil {
		return err
	}
	if l.Rate < 0 {
		return complain(node, "rate", fmt.Sprintf("rate: %d is not a number of operations per second", l.Rate))
	}
	return nil
}

// Repeat is how often a Fault comes: the first time at its At, and then Every so long, For so long.
// One that is due while its target has not yet recovered from the time before waits for that.
type Repeat struct{ Every, For time.Duration }

// Times is how often the Fault comes; at least once.
func (r Repeat) Times() int {
	if r.Every == 0 {
		return 1
	}
	return int(r.For / r.Every)
}

var repeatForm = regexp.MustCompile(`^every (\S+) for (\S+)$`)

// UnmarshalYAML decodes "every 3s for 5m".
func (r *Repeat) UnmarshalYAML(node ast.Node) error {
	wrong := func(format string, args ...any) error {
		at := node.GetToken()
		return &positionError{line(at), column(at), "repeat: " + fmt.Sprintf(format, args...)}
	}
	text, ok := node.(*ast.StringNode)
	if !ok {
		return wrong("want a text such as every 3s for 5m")
	}
	parts := repeatForm.FindStringSubmatch(text.Value)
	if parts == nil {
		return wrong("%q is not of the form every 3s for 5m", text.Value)
	}
	for n, to := range []*time.Duration{&r.Every, &r.For} {
		length, err := time.ParseDuration(parts[n+1])
		if err != nil || length <= 0 || length > maxLength {
			return wrong("%q is not a length above 0s up to %v", parts[n+1], maxLength)
		}
		*to = length
	}
	if r.Times() < 2 {
		return wrong("every %v fits %v only %d times, want at least 2", r.Every, r.For, r.Times())
	}
	return nil
}

// repeat takes a Fault through all its windows, one after the other, and tells of them as of one:
// applied if each was; from the first injection to the last undoing; recovered as late after that
// as the slowest of them.
func repeat(times int, once func(n int) Window) Window {
	all := once(0)
	if times == 1 {
		return all
	}
	recoveries := []time.Duration{all.Recovered - all.End}
	for turn := 1; turn < times && all.Applied && all.Err == nil; turn++ {
		w := once(turn)
		if all.Applied, all.Err = w.Applied, w.Err; w.End > 0 {
			all.End, all.Recovered, all.Evidence = w.End, w.Recovered, w.Evidence
		}
		all.ProxyBytes += w.ProxyBytes
		recoveries = append(recoveries, w.Recovered-w.End)
	}
	if !all.Applied || all.Err != nil {
		all.Applied = false
		all.Err = fmt.Errorf("time %d of %d: %w", len(recoveries), times, all.Err)
		return all
	}
	slices.Sort(recoveries)
	slowest := recoveries[times-1]
	all.Recovered = all.End + slowest
	all.Evidence = fmt.Sprintf("%d times, healthy again after %v at the median and %v at most; last: %s", times,
		recoveries[times/2].Round(time.Millisecond), slowest.Round(time.Millisecond), all.Evidence)
	return all
}

package chaos

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/cdclab/cdclab/chaos/faults"
)

// Repeat repeats a Fault: first at the Fault's At, and then Every so long, For so long. A
// repetition due before the target has recovered waits for the recovery.
type Repeat struct{ Every, For time.Duration }

// Times is the number of repetitions; at least 1. "every 3s for 10s" is 3 times.
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
		return &positionError{line(at), column(at),
			fmt.Errorf("repeat: "+format, args...).Error()}
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
		length, err := faults.ReadLength(parts[n+1])
		if err == nil && length == 0 {
			err = fmt.Errorf("%q is not a length above 0s", parts[n+1])
		}
		if err != nil {
			return wrong("%w", err)
		}
		*to = length
	}
	if r.Times() < 2 {
		return wrong("every %v fits %v only %d times, want at least 2", r.Every, r.For, r.Times())
	}
	return nil
}

// repeat takes a Fault through all windows, one after the other, and merges the windows: Applied if
// every window was; from the first injection to the last undoing; recovered as long after the last
// undoing as the slowest window.
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
	all.Evidence = fmt.Sprintf("%d times, healthy again after %v at the median and %v at most; "+
		"last: %s", times,
		recoveries[times/2].Round(time.Millisecond), slowest.Round(time.Millisecond), all.Evidence)
	return all
}

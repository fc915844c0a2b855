package reports

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/cdclab/cdclab/reports/unit"
)

// FaultWindow is the real course of a fault of the chaos plan.
type FaultWindow struct {
	Name   string `json:"name"`
	Target string `json:"target"`
	// StartSeconds and EndSeconds are offsets of the first moment of the fault and of its removal.
	StartSeconds float64 `json:"startSeconds"`
	EndSeconds   float64 `json:"endSeconds"`
	// Applied: the injection succeeded and its effect was observed.
	Applied bool `json:"applied"`
	// RecoveredSeconds is the time from the removal until the steady state held again: every part
	// serves, the latency is as before, and what waited was seen; -1: unknown.
	RecoveredSeconds float64 `json:"recoveredSeconds" number:"-1"`
	// RecoveryLimitSeconds is the longest recovery allowed by the plan; 0 is the specification's
	// 60.
	RecoveryLimitSeconds float64 `json:"recoveryLimitSeconds"`
	// Proxy is the name of the proxy that carried the fault, empty for a fault without a proxy;
	// ProxyBytes is the traffic through the proxy in both directions during the Run.
	Proxy      string `json:"proxy"`
	ProxyBytes int64  `json:"proxyBytes"`
	// InsideP50 and OutsideP50 are the E2E p50 in milliseconds of writes intended inside and
	// outside the window; 0: no samples.
	InsideP50  float64 `json:"insideP50"`
	OutsideP50 float64 `json:"outsideP50"`
	// Cut is true if nothing could get from PostgreSQL to a reader of MongoDB during the fault.
	// SeenInside is the number of writes that the tracker nevertheless saw before the fault's end,
	// of the writes committed a second after its beginning or later.
	Cut        bool   `json:"cut,omitempty"`
	SeenInside int64  `json:"seenInside,omitempty"`
	Detail     string `json:"detail"`
}

// Deliveries are the events that Kafka held after a Run with faults.
type Deliveries struct {
	// Counted is false for a Run whose topics were not read.
	Counted bool `json:"counted"`
	// Events counts the changes in the topics; Again counts the changes that the connector had
	// delivered before.
	Events int64 `json:"events"`
	Again  int64 `json:"again"`
}

func (d Deliveries) validate() error {
	if d.Again > d.Events {
		return fmt.Errorf("deliveries.again: %d of %d events", d.Again, d.Events)
	}
	return nil
}

func (r *Run) validateFaults() error {
	for i, f := range r.Faults {
		path := fmt.Sprintf("faults[%d].", i)
		switch {
		case f.Name == "":
			return fmt.Errorf("%sname: empty", path)
		case f.EndSeconds < f.StartSeconds:
			return fmt.Errorf("%sendSeconds: %v is before startSeconds %v",
				path, f.EndSeconds, f.StartSeconds)
		}
	}
	return r.Deliveries.validate()
}

func (r *Run) faultDoubts() (doubts []Verdict) {
	for _, f := range r.Faults {
		switch {
		case !f.Applied:
			doubts = append(doubts, unknown("The fault %s was not applied to %s at second %s%s%s.",
				f.Name, f.Target, unit.Number(f.StartSeconds), r.beside(f), because(f.Detail)))
			continue
		case f.Proxy != "" && f.ProxyBytes == 0:
			doubts = append(doubts, unknown("The fault %s met nobody%s: 0 bytes went through "+
				"the proxy %s.", f.Name, r.beside(f), f.Proxy))
		}
		if f.RecoveredSeconds < 0 {
			doubts = append(doubts, unknown("It is not known when the pipeline recovered from %s, "+
				"which was removed at second %s.", f.Name, unit.Number(f.EndSeconds)))
		}
	}
	return doubts
}

// beside names the other faults at work during f, or not recovered from: they may have held what f
// was to meet. "" is none.
func (r *Run) beside(f FaultWindow) string {
	var names []string
	for _, other := range r.Faults {
		over := other.EndSeconds + other.RecoveredSeconds
		if other.RecoveredSeconds < 0 {
			over = math.Inf(1)
		}
		if other != f && other.StartSeconds < f.EndSeconds && over > f.StartSeconds {
			names = append(names, other.Name+" of "+other.Target)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return " beside " + strings.Join(names, " and ")
}

// breaksMongo returns true if the plan breaks MongoDB itself: then the tracker is meant to lose
// sight.
func (r *Run) breaksMongo() bool {
	return slices.ContainsFunc(r.Faults, func(f FaultWindow) bool { return f.Target == "mongo" })
}

package reports

import (
	"math"
	"slices"
)

// Lag is the course of the consumer's lag: records not committed yet by the consumer's group, of
// all partitions.
type Lag struct {
	// Known is false where no look found the lag.
	Known bool `json:"known"`
	// Max of the measured load was at MaxSecond; End is the last value of the load.
	Max       float64 `json:"max"`
	MaxSecond float64 `json:"maxSecond"`
	End       float64 `json:"end"`
	// PerSecond is the slope over the load, in records per second: how much slower the consumer was
	// than its topics.
	PerSecond float64 `json:"perSecond" number:"any"`
	// Pattern is a constant from the list below.
	Pattern string `json:"pattern"`
	// RecoverySeconds is from the end of the highest load, or else from the greatest lag, until the
	// lag was again the usual lag between two commits; 0: never more than usual, -1: the lag did
	// not recover.
	RecoverySeconds float64 `json:"recoverySeconds" number:"-1"`
}

// Patterns of a Lag.
const (
	// LagSteady never was worth more than lagSeconds of the load.
	LagSteady = "steady"
	// LagPeak rose and fell once or twice.
	LagPeak = "peak"
	// LagSawtooth rose and fell again and again.
	LagSawtooth = "sawtooth"
	// LagGrowing rose until the end of the load: more is offered than is consumed.
	LagGrowing = "growing"
)

// lagSeconds of the offered load are no lag yet: the group commits once a second, and a look at the
// ends of the topics and a look at the commits are not the same moment. leastLag is for small
// loads.
const (
	lagSeconds = 2
	leastLag   = 20
	// sawteeth is from how many peaks on a lag is a sawtooth.
	sawteeth = 3
)

// lag reads GaugeLag of the consumer.
func (r *Run) lag() Lag {
	g := r.Looks.Gauge("consumer", GaugeLag)
	seconds, values := r.DuringLoad(g)
	if len(values) == 0 {
		return Lag{}
	}
	top := slices.Index(values, slices.Max(values))
	l := Lag{Known: true, Max: values[top], MaxSecond: seconds[top], End: values[len(values)-1]}
	if n := len(values); n > 2 && seconds[n-1] > seconds[0] {
		l.PerSecond = slope(seconds, values)
	}
	usual := max(leastLag, lagSeconds*r.Summary.Throughput.Offered)
	l.Pattern = lagPattern(values, usual)
	if l.Max <= usual {
		return l
	}
	l.RecoverySeconds = -1
	from := max(l.MaxSecond, r.highLoadEnd())
	for i, at := range r.Looks.Seconds {
		if at >= from && g.Values[i] >= 0 && g.Values[i] <= usual {
			l.RecoverySeconds = at - from
			break
		}
	}
	return l
}

func lagPattern(values []float64, usual float64) string {
	last := values[len(values)*4/5:]
	switch peaks := countPeaks(values, usual); {
	case slices.Max(values) <= usual:
		return LagSteady
	case slices.Min(last) > usual && mean(last) >= mean(values):
		return LagGrowing
	case peaks >= sawteeth:
		return LagSawtooth
	}
	return LagPeak
}

// countPeaks counts the rises of the values above usual from below half of usual.
func countPeaks(values []float64, usual float64) (peaks int) {
	low := true
	for _, v := range values {
		switch {
		case low && v > usual:
			low = false
			peaks++
		case v < usual/2:
			low = true
		}
	}
	return peaks
}

// highLoadEnd is the end of the last second offered half as much again as the usual second; 0 when
// the load was even.
func (r *Run) highLoadEnd() (end float64) {
	var offered []float64
	for _, s := range r.Series {
		if s.Offered > 0 {
			offered = append(offered, float64(s.Offered))
		}
	}
	if len(offered) == 0 {
		return 0
	}
	usual := Middle(offered)
	for _, s := range r.Series {
		if float64(s.Offered) >= 1.5*usual {
			end = math.Max(end, float64(s.Second+1))
		}
	}
	return end
}

// slope fits a straight line by least squares.
func slope(x, y []float64) float64 {
	mx, my := mean(x), mean(y)
	var sxx, sxy float64
	for i := range x {
		sxx += (x[i] - mx) * (x[i] - mx)
		sxy += (x[i] - mx) * (y[i] - my)
	}
	return sxy / sxx
}

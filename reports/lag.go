package reports

import (
	"fmt"
	"math"
	"slices"
)

// Lag is what the consumer's lag did: records that its group had not committed yet, of all partitions.
type Lag struct {
	// Known is false where no look found it.
	Known bool `json:"known"`
	// Max of the measured load was at MaxSecond; End is the last value of the load.
	Max       float64 `json:"max"`
	MaxSecond float64 `json:"maxSecond"`
	End       float64 `json:"end"`
	// PerSecond is the slope over the load, in records per second: what the consumer was slower than its
	// topics.
	PerSecond float64 `json:"perSecond"`
	// Pattern is one of the constants below.
	Pattern string `json:"pattern"`
	// RecoverySeconds is from the end of the highest load, or else from the greatest lag, until the
	// lag was again what the consumer has between two commits; 0: it never was more, -1: it did not
	// come to that.
	RecoverySeconds float64 `json:"recoverySeconds"`
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
// ends of the topics and one at the commits are not the same moment. leastLag is for small loads.
const (
	lagSeconds = 2
	leastLag   = 20
	// sawteeth is from how many peaks on a lag is a sawtooth.
	sawteeth = 3
)

// lag reads GaugeLag of the consumer.
func (r *Run) lag() Lag {
	g := r.Looks.gauge("consumer", GaugeLag)
	seconds, values := r.duringLoad(g)
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

// countPeaks counts the times that the values went above usual, having been below half of it.
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

// highLoadEnd is the end of the last second that was offered half as much again as the usual second;
// 0 when the load was even.
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
	slices.Sort(offered)
	usual := offered[len(offered)/2]
	for _, s := range r.Series {
		if float64(s.Offered) >= 1.5*usual {
			end = math.Max(end, float64(s.Second+1))
		}
	}
	return end
}

// slope is that of a straight line by least squares.
func slope(x, y []float64) float64 {
	mx, my := mean(x), mean(y)
	var sxx, sxy float64
	for i := range x {
		sxx += (x[i] - mx) * (x[i] - mx)
		sxy += (x[i] - mx) * (y[i] - my)
	}
	return sxy / sxx
}

// text is a Lag in a few words.
func (l Lag) text() string {
	text := fmt.Sprintf("%s: at most %s records (second %s), %s at the end", l.Pattern, number(l.Max), number(l.MaxSecond), number(l.End))
	switch {
	case l.RecoverySeconds > 0:
		text += fmt.Sprintf("; recovered within %s s", number(l.RecoverySeconds))
	case l.RecoverySeconds < 0:
		text += "; not recovered"
	}
	return text
}

// lagLines are the lag, its rate, what came in and what went out, and the lag as Prometheus sees it, by
// the specification's names.
func lagLines(r *Run) []string {
	if !r.Lag.Known {
		return nil
	}
	lines := []string{"kafka_consumer_lag " + r.Lag.text()}
	seconds, values := r.duringLoad(r.Looks.gauge("consumer", GaugeLag))
	var fastest float64
	for i := 1; i < len(values); i++ {
		if between := seconds[i] - seconds[i-1]; between > 0 {
			fastest = max(fastest, (values[i]-values[i-1])/between)
		}
	}
	lines = append(lines, fmt.Sprintf("kafka_consumer_lag_rate %s over the load, at most %s between two looks",
		amount(r.Lag.PerSecond, "records/s"), amount(fastest, "records/s")))
	_, produced := r.duringLoad(r.Looks.gauge("consumer", GaugeProduced))
	_, consumed := r.duringLoad(r.Looks.gauge("consumer", GaugeConsumed))
	if len(produced) > 0 && len(consumed) > 0 {
		lines = append(lines, fmt.Sprintf("offered %s writes/s; produced %s, consumed %s records/s (a delete is an event and a tombstone)",
			number(r.Summary.Throughput.Offered), number(mean(produced)), number(mean(consumed))))
	}
	if _, seen := r.duringLoad(r.Looks.gauge("prometheus", GaugeLag)); len(seen) > 0 {
		lines = append(lines, fmt.Sprintf("as Prometheus sees it: at most %s records, %s at the end",
			number(slices.Max(seen)), number(seen[len(seen)-1])))
	}
	return lines
}

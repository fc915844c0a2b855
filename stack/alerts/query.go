package alerts

import (
	"fmt"
	"strings"
	"time"

	"github.com/cdclab/cdclab/consumer/telemetry"
)

// zeroTolerance is the switch of the alert on any error at all: a recorded series, 0 or 1, for
// Prometheus and Grafana alike. A person changes the switch in switches.yaml.
const zeroTolerance = "cdclab:zero_tolerance"

// window is how far rates and quantiles look back: the shortest with several samples.
const window = time.Minute

// promDuration writes a duration as PromQL does.
func promDuration(d time.Duration) string {
	if d%time.Minute == 0 {
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// rate returns the events of a counter in a second, by labels.
func rate(counter string, by ...string) string {
	return fmt.Sprintf("sum by (%s) (rate(%s[%s]))", strings.Join(by, ", "), counter,
		promDuration(window))
}

// recent returns the events of a counter in the last while, by labels. A counter with a new
// combination of labels begins at 1, unseen by increase: such a series counts in full.
func recent(counter string, while time.Duration, by ...string) string {
	d := promDuration(while)
	return fmt.Sprintf("sum by (%s) ((%[2]s unless last_over_time(%[2]s[%[3]s] offset %[3]s)) "+
		"or increase(%[2]s[%[3]s]))", strings.Join(by, ", "), counter, d)
}

// share returns by labels the share of all; all is one number. Where all is below least, nothing.
func share(part, total string, least float64) string {
	return fmt.Sprintf("%s / on () group_left () (%s) > 0 and on () "+
		"sum(%s) / (%s) > %g", part, total, part, total, least)
}

// quantile returns the latency, in seconds, from the commit to the acknowledged write.
func quantile(q float64) string {
	return fmt.Sprintf("histogram_quantile(%g, sum by (le) (rate(%s_bucket{stage=%q}[%s])))", q,
		telemetry.MetricStageSeconds, telemetry.StageSourceToApplied, promDuration(window))
}

// labelled returns the query with one more label.
func labelled(query, label, value string) string {
	return fmt.Sprintf("label_replace(%s, %q, %q, \"\", \"\")", query, label, value)
}

// anyOf joins queries: all results of the first, and the new ones of the others.
func anyOf(queries ...string) string { return strings.Join(queries, "\nor\n") }

package observe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/cdclab/cdclab/consumer/telemetry"
	"github.com/cdclab/cdclab/hop/pg"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/stack"
)

// clockReadings is how often a foreign clock is read: the reading with the shortest round trip
// tells most.
const clockReadings = 15

// notMeasured are the clocks that no lab can ask, by kind of stack. The embedded stack's connector
// and Kafka have the lab's own.
var notMeasured = map[string]string{
	stack.Native: "connector and kafka, because neither Debezium nor a broker tells the time; " +
		"both run on this machine and have its clock",
	stack.Compose: "connector and kafka, because neither Debezium nor a broker tells the time; " +
		"both run on the Docker engine's machine and have its clock",
	stack.External: "connector and kafka, because neither Debezium nor a broker tells the time: " +
		"what they stamp may be off by as much as their clocks are",
}

// CompareClocks compares each clock that stamps a stage with the lab's; the warnings name the
// clocks without an answer.
func CompareClocks(ctx context.Context, kind string,
	endpoints stack.Endpoints) (clock reports.Clock, warnings []string) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	clock.NotMeasured = notMeasured[kind]
	add := func(component string, read func() (time.Time, error)) {
		offset, uncertainty, err := clockOffset(read)
		if err != nil {
			warnings = append(warnings, fmt.Sprintf(
				"the clock of %s was not compared with the lab's: %v", component, err))
			return
		}
		clock.Offsets = append(clock.Offsets, reports.ClockOffset{
			Component: component,
			OffsetMs:  1e3 * offset.Seconds(), UncertaintyMs: 1e3 * uncertainty.Seconds(),
		})
	}
	conn, err := pg.Connect(ctx, endpoints.PostgresDSN)
	if err == nil {
		defer conn.Close(context.WithoutCancel(ctx))
	}
	add(stack.Postgres, func() (at time.Time, _ error) {
		if err != nil {
			return at, err
		}
		return at, conn.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&at)
	})
	for n, url := range endpoints.ConsumerMetricsURLs {
		add(stack.ConsumerName(n+1), func() (time.Time, error) { return consumerClock(ctx, url) })
	}
	return clock, warnings
}

func consumerClock(ctx context.Context, url string) (time.Time, error) {
	families, err := Scrape(ctx, http.DefaultClient, url)
	if err != nil {
		return time.Time{}, err
	}
	for _, m := range families[telemetry.MetricClockSeconds].GetMetric() {
		seconds := m.GetGauge().GetValue()
		return time.UnixMicro(int64(seconds * 1e6)), nil
	}
	return time.Time{}, errors.New("it does not say what time it is: no " +
		telemetry.MetricClockSeconds)
}

// clockOffset returns how far a foreign clock is ahead of the lab's: the foreign reading against
// the middle of the round trip, with an uncertainty of half the round trip.
func clockOffset(read func() (time.Time, error)) (offset, uncertainty time.Duration, err error) {
	for n := range clockReadings {
		asked := time.Now()
		at, err := read()
		took := time.Since(asked)
		if err != nil {
			return 0, 0, err
		}
		if n == 0 || took/2 < uncertainty {
			// Round drops the monotonic reading: both are wall clocks now.
			offset, uncertainty = at.Sub(asked.Round(0).Add(took/2)), took/2
		}
	}
	return offset, uncertainty, nil
}

package experiments

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/stack"
)

// clockReadings is how often a foreign clock is read: the reading with the shortest round trip tells most.
const clockReadings = 15

// clockMetric is the consumer's own clock (consumer/metrics.go).
const clockMetric = "cdc_consumer_clock_seconds"

// notMeasured are the clocks of each kind of stack that cannot be asked. The embedded stack's connector and
// Kafka have the lab's own.
var notMeasured = map[string]string{
	stack.Native: "connector and kafka, because neither Debezium nor a broker tells the time; both run on this " +
		"machine and have its clock",
	stack.External: "connector and kafka, because neither Debezium nor a broker tells the time: what they stamp may " +
		"be off by as much as their clocks are",
}

// measureClocks compares the clocks that stamp the stages with the lab's.
func (s *session) measureClocks(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	s.run.Clock.NotMeasured = notMeasured[s.config.Stack.Kind]
	endpoints := s.stack.Endpoints()
	add := func(component string, read func() (time.Time, error)) {
		offset, uncertainty, err := clockOffset(read)
		if err != nil {
			s.warn(fmt.Sprintf("the clock of %s was not compared with the lab's: %v", component, err))
			return
		}
		s.run.Clock.Offsets = append(s.run.Clock.Offsets, reports.ClockOffset{
			Component: component, OffsetMs: 1e3 * offset.Seconds(), UncertaintyMs: 1e3 * uncertainty.Seconds(),
		})
	}
	conn, err := pgx.Connect(ctx, endpoints.PostgresDSN)
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
}

func consumerClock(ctx context.Context, url string) (time.Time, error) {
	families, err := scrapeFamilies(ctx, http.DefaultClient, url)
	if err != nil {
		return time.Time{}, err
	}
	for _, m := range families[clockMetric].GetMetric() {
		seconds := m.GetGauge().GetValue()
		return time.UnixMicro(int64(seconds * 1e6)), nil
	}
	return time.Time{}, errors.New("it does not say what time it is: no " + clockMetric)
}

// clockOffset is by how much a foreign clock is ahead of this one: its reading against the middle of the
// round trip, which can be wrong by half of that.
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

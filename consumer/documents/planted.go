//go:build planted

package documents

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// planted is the slowdown of this build, set by the linker (cdclab gate --calibrate): cpu=200us
// burns so much processor time for each write, sleep=5ms waits before each batch, trips=1 makes so
// many more round trips to MongoDB before each batch.
var planted string

// A build with a slowdown that nobody can read ends at once, instead of passing for a slow build.
func init() {
	if err := plant(planted); err != nil {
		panic(err)
	}
}

var (
	plantedCPU, plantedSleep time.Duration
	plantedTrips             int
)

func plant(slowdown string) (err error) {
	kind, amount, _ := strings.Cut(slowdown, "=")
	switch kind {
	case "cpu":
		plantedCPU, err = time.ParseDuration(amount)
	case "sleep":
		plantedSleep, err = time.ParseDuration(amount)
	case "trips":
		plantedTrips, err = strconv.Atoi(amount)
	default:
		err = fmt.Errorf("want cpu=200us, sleep=5ms or trips=1")
	}
	if err != nil {
		return fmt.Errorf("planted slowdown %q: %w", slowdown, err)
	}
	return nil
}

// slowDown slows down a batch of writes as planted.
func (m *Mongo) slowDown(ctx context.Context, writes int) {
	for range plantedTrips {
		_ = m.Ping(ctx) // the batch itself meets the same error
	}
	if plantedSleep > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(plantedSleep):
		}
	}
	for end := time.Now().Add(time.Duration(writes) * plantedCPU); time.Now().Before(end); {
	}
}

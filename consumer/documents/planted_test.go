//go:build planted

package documents

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestPlanted(t *testing.T) {
	for _, wrong := range []string{"", "cpu", "cpu=x", "sleep=5", "trips=1.5", "disk=1s"} {
		if err := plant(wrong); err == nil {
			t.Errorf("%q was planted", wrong)
		}
	}
	if err := plant("cpu=300us"); err != nil || plantedCPU != 300*time.Microsecond {
		t.Errorf("%v, %v", plantedCPU, err)
	}
	began := time.Now()
	(&Mongo{}).slowDown(t.Context(), 10)
	if took := time.Since(began); took < 3*time.Millisecond {
		t.Errorf("10 writes burnt %v", took)
	}
	plantedCPU = 0
	synctest.Test(t, func(t *testing.T) {
		if err := plant("sleep=5ms"); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		(&Mongo{}).slowDown(t.Context(), 10)
		if took := time.Since(began); took != 5*time.Millisecond {
			t.Errorf("a batch waited %v", took)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		began = time.Now()
		(&Mongo{}).slowDown(ended, 10)
		if took := time.Since(began); took != 0 {
			t.Errorf("an ended consumer waited %v", took)
		}
	})
	if err := plant("trips=2"); err != nil || plantedTrips != 2 {
		t.Errorf("%d, %v", plantedTrips, err)
	}
}

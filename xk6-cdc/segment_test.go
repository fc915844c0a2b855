package cdc

import (
	"testing"

	"go.k6.io/k6/lib"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/xk6-cdc/servertest"
)

func TestHeaderSaysTheSegment(t *testing.T) {
	t.Parallel()
	g, _ := generatorOn(t, servertest.StartMongo(t), nil)
	half, err := lib.NewExecutionSegmentFromString("1/2:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Selftest(t.Context(), SelftestPlan{Writes: 2},
		&lib.Options{ExecutionSegment: half}); err != nil {
		t.Fatal(err)
	}
	header, writes, _ := readLedger(t, g)
	if header.Segment != "1/2:1" || len(writes) != 2 || writes[0].ID != 1<<51+1 ||
		writes[0].Op != ledger.Insert {
		t.Errorf("header %+v, writes %+v", header, writes)
	}
}

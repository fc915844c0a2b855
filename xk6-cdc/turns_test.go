package cdc

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/xk6-cdc/servertest"
)

// TestRunCountsIterations: the ledger tells how many iterations of each scenario asked for a write,
// however many writes each asked for, and what a write was to be where no row was free.
func TestRunCountsIterations(t *testing.T) {
	t.Parallel()
	target, source := servertest.StartMongo(t), servertest.StartPostgres(t)
	startCopier(t, source, target, "cdc")
	k := newK6(t, `
import cdc from 'k6/x/cdc';
import exec from 'k6/execution';
export const options = {
  scenarios: {
    half: { executor: 'shared-iterations', vus: 3, iterations: 20, exec: 'half' },
    twice: { executor: 'per-vu-iterations', vus: 2, iterations: 4, startTime: '1s', exec: 'twice' },
    never: { executor: 'shared-iterations', vus: 2, iterations: 5, exec: 'never' },
  },
  setupTimeout: '60s', teardownTimeout: '60s',
};
const lab = cdc.open({seedRows: 0});
export function setup() { lab.start(); lab.mix({insert: 1}); }
export function half() {
  if (exec.scenario.iterationInTest % 2) throw new Error('before the write');
  lab.write('customer', 'delete');
}
export function twice() {
  lab.write('customer', 'insert');
  lab.transaction([{entity: 'customer', op: 'insert'}, {entity: 'customer', op: 'insert'}]);
}
export function never() { throw new Error('always'); }
export function teardown() { lab.drain('20s'); }
`, "CDC_POSTGRES_DSN="+source.DSN(), "CDC_MONGO_URI="+target.URI())
	path := filepath.Join(k.folder, "ledger")
	began := filepath.Join(k.folder, "began")
	k.env = append(k.env, "CDC_LEDGER="+path, "CDC_STARTED="+began)
	if code, output := k.run(t); code != 0 {
		t.Fatalf("exit code %d\n%s", code, output)
	}
	writes, becameInserts := map[string]int{}, 0
	_, end, err := ledger.Read(path, func(w ledger.Write) error {
		writes[w.Scenario]++
		if (w.AskedOp != "") != (w.Scenario == "half" && w.Op == ledger.Insert) {
			t.Errorf("%s of scenario %s: asked for %q", w.Op, w.Scenario, w.AskedOp)
		}
		if w.AskedOp == ledger.Delete && w.AskedEntity == "customer" {
			becameInserts++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if becameInserts == 0 || int64(becameInserts) != end.Substituted {
		t.Errorf("%d deletes became inserts, the end says %d", becameInserts, end.Substituted)
	}
	if diff := cmp.Diff(map[string]int{"half": 10, "twice": 24}, writes); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]ledger.Scenario{{Name: "half", Iterations: 10},
		{Name: "twice", Iterations: 8}}, end.Scenarios,
		cmpopts.IgnoreFields(ledger.Scenario{}, "StartNs")); diff != "" {
		t.Fatal(diff)
	}
	half, twice := end.Scenarios[0].StartNs, end.Scenarios[1].StartNs
	if half <= 0 || twice-half < 900e6 || end.DrainNs < twice || end.ClosedNs < end.DrainNs {
		t.Errorf("starts at %d and %d ns, drained at %d, closed at %d", half, twice, end.DrainNs,
			end.ClosedNs)
	}
	if start, err := ledger.ReadStart(began); err != nil || start.AgeNs < 0 ||
		start.UnixNs <= 0 {
		t.Errorf("start %+v, %v", start, err)
	}
}

package reports

import (
	"strings"
	"testing"
)

// TestDoubtNamesOtherFaults: where another fault was at work, or the pipeline had not recovered
// from it, a fault without a proof says which: the other fault may have held the traffic.
func TestDoubtNamesOtherFaults(t *testing.T) {
	t.Parallel()
	fault := func(name, target string, start, end, recovered float64) FaultWindow {
		return FaultWindow{Name: name, Target: target, Applied: true, StartSeconds: start,
			EndSeconds: end, RecoveredSeconds: recovered}
	}
	bypassed := fault("slicer", "consumer-mongo", 3, 4, 0)
	bypassed.Proxy = "consumer-mongo"
	missing := fault("kill", "kafka", 3, 4, 0)
	missing.Applied, missing.Detail = false, "no such process."
	for name, c := range map[string]struct {
		of     FaultWindow
		others []FaultWindow
		want   string
	}{
		"met nobody, alone": {bypassed, []FaultWindow{
			fault("pause", "mongo", 0.5, 2, 1), fault("pause", "kafka", 4, 5, 0)},
			"The fault slicer met nobody: 0 bytes went through the proxy consumer-mongo."},
		"met nobody": {bypassed, []FaultWindow{
			fault("pause", "mongo", 3.5, 5, 0), fault("restart", "consumer", 1, 1.5, 2)},
			"The fault slicer met nobody beside pause of mongo and restart of consumer: 0 bytes " +
				"went through the proxy consumer-mongo."},
		"not applied": {missing, []FaultWindow{fault("pause", "mongo", 3.5, 5, 0)},
			"The fault kill was not applied to kafka at second 3 beside pause of mongo: no such " +
				"process."},
		"beside a fault that never recovered": {missing, []FaultWindow{
			fault("pause", "mongo", 1, 2, -1)},
			"The fault kill was not applied to kafka at second 3 beside pause of mongo: no such " +
				"process."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := goodRun(t)
			run.Faults = append(c.others, c.of)
			run.addSteady()
			got := Judge(run)
			if reasons := strings.Join(got.Reasons, "\n"); !strings.Contains(reasons, c.want) {
				t.Errorf("reasons:\n%s\nwant:\n%s", reasons, c.want)
			}
		})
	}
}

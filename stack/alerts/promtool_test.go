package alerts

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/programs"
	"github.com/cdclab/cdclab/stack/servertest"
)

// runs runs a checking program in this folder.
func runs(t *testing.T, path string, args ...string) {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	err = process.RunTool(t.Context(), process.Command{Kind: process.Tool, Path: path, Args: args,
		Dir: here})
	if err != nil {
		t.Error(err)
	}
}

// TestPrometheusRules: every alert fires at its limit and time, not before and not just below, and
// ends.
func TestPrometheusRules(t *testing.T) {
	t.Parallel()
	promtool := servertest.FindObserver(t, programs.Promtool)
	rules, err := filepath.Glob("prometheus/rules/*.yaml")
	if err != nil || len(rules) != 2 {
		t.Fatalf("%v, %v", rules, err)
	}
	runs(t, promtool, append([]string{"check", "rules", "--lint-fatal"}, rules...)...)
	runs(t, promtool, "test", "rules", "prometheus/tests.yaml")
}

// TestObserversTakeAlertmanagerFiles: the Alertmanager reads both configurations.
func TestObserversTakeAlertmanagerFiles(t *testing.T) {
	t.Parallel()
	amtool := servertest.NeedObserver(t, programs.Amtool)
	runs(t, amtool, "check-config", "alertmanager/webhook.yaml",
		"alertmanager/all-channels.yaml")
}

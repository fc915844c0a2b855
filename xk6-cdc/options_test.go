package cdc

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.k6.io/k6/lib/types"

	"github.com/cdclab/cdclab/xk6-cdc/tables"
	"github.com/cdclab/cdclab/xk6-cdc/tracker"
)

func environment(variables map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := variables[name]
		return value, ok
	}
}

func TestOptionsPrecedence(t *testing.T) {
	t.Parallel()
	variables := map[string]string{
		"CDC_POSTGRES_DSN": "postgres://env", "CDC_MONGO_URI": "mongodb://env",
		"CDC_MONGO_DATABASE": "envdb",
		"CDC_LEDGER":         "/env/ledger", "CDC_STARTED": "", "CDC_SEED": "42",
	}
	got, err := readOptions(map[string]any{
		"mongo": "mongodb://script", "seed": int64(7), "mix": map[string]any{"insert": int64(1)},
		"timeout": "1m30s", "statementTimeout": int64(250), "workers": int64(32), "ledger": nil,
	}, environment(variables))
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultOptions()
	want.Postgres, want.Mongo, want.Database, want.Ledger = "postgres://env", "mongodb://script",
		"envdb", "/env/ledger"
	want.Seed, want.Mix, want.Workers = 7, tables.Mix{Insert: 1}, 32
	want.Timeout, want.StatementTimeout = types.Duration(90*time.Second),
		types.Duration(250*time.Millisecond)
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Options{})); diff != "" {
		t.Error(diff)
	}
	if got.overridden != "mongo,seed" {
		t.Errorf("%q are overridden, want mongo and seed, for which the environment asked",
			got.overridden)
	}
	if got, err = readOptions(nil, environment(nil)); err != nil || got != DefaultOptions() {
		t.Errorf("nothing given: %+v, %v", got, err)
	}
}

// CDC_OPTIONS comes between the other variables and the script, and a script's null changes
// nothing.
func TestOptionsFromTheEnvironment(t *testing.T) {
	t.Parallel()
	got, err := readOptions(map[string]any{"sample": 0.5, "mix": nil},
		environment(map[string]string{
			"CDC_MONGO_URI": "mongodb://env",
			"CDC_OPTIONS": `{"tracker": "poll", "rowBytes": 512, "sample": 0.1,
			"mix": {"update": 1}, "timeout": "1s", "workers": null}`,
		}))
	want := DefaultOptions()
	want.Mongo, want.Tracker, want.RowBytes, want.Sample = "mongodb://env", tracker.Poll, 512, 0.5
	want.Mix, want.Timeout = tables.Mix{Update: 1}, types.Duration(time.Second)
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Options{})); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if got.overridden != "sample" {
		t.Errorf("%q are overridden, want sample", got.overridden)
	}
	for text, want := range map[string]string{
		`{"tracker"`:              "CDC_OPTIONS: want a JSON object of options: unexpected end",
		`[]`:                      "CDC_OPTIONS: want a JSON object of options",
		`{} {}`:                   "CDC_OPTIONS: want a JSON object of options",
		`{"row": 1}`:              `CDC_OPTIONS: there is no option "row"`,
		`{"mix": {"inserts": 1}}`: `CDC_OPTIONS: option "mix" has no member "inserts"`,
		`{"workers": "many"}`: `CDC_OPTIONS: option "workers": ` +
			`got a string, want a whole number`,
		`{"workers": 0}`:           `CDC_OPTIONS: option "workers": want 1 to 1024, got 0`,
		`{"mongo": "mongodb://x"}`: `CDC_OPTIONS: option "mongo": use CDC_MONGO_URI`,
		`{"seed": 2}`:              `CDC_OPTIONS: option "seed": use CDC_SEED`,
	} {
		_, err := readOptions(map[string]any{"workers": int64(1)},
			environment(map[string]string{"CDC_OPTIONS": text}))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func TestOptionsErrorsNameTheOption(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		given any
		want  string
	}{
		{"postgres://", "want an object of options, got string"},
		{map[string]any{"postgress": "x"}, `no option "postgress"`},
		{map[string]any{"postgres": ""}, `option "postgres"`},
		{map[string]any{"mongo": int64(1)}, `option "mongo": got a number, want a string`},
		{map[string]any{"mongo": ""}, `option "mongo"`},
		{map[string]any{"database": ""}, `option "database"`},
		{map[string]any{"mix": map[string]any{"inserts": int64(1)}},
			`option "mix" has no member "inserts"`},
		{map[string]any{"mix": map[string]any{"insert": -1, "update": 2}}, `option "mix"`},
		{map[string]any{"mix": map[string]any{}}, `option "mix"`},
		{map[string]any{"trends": 1.5}, `option "trends": want 0 to 1`},
		{map[string]any{"trace": 1.5}, `option "trace": want 0 to 1`},
		{map[string]any{"mix": map[string]any{"insert": 0.5}},
			`option "mix.insert": got a number 0.5, want a whole number`},
		{map[string]any{"mix": "70/20/10"}, `option "mix": got a string, want an object`},
		{map[string]any{"seed": 1.5}, `option "seed": got a number 1.5, want a whole number`},
		{map[string]any{"sample": "all"}, `option "sample": got a string, want a number`},
		{map[string]any{"entities": map[string]any{"customer": int64(0)}}, `option "entities"`},
		{map[string]any{"workers": int64(0)}, `option "workers"`},
		{map[string]any{"batch": int64(0)}, `option "batch": want 1 to 1000, got 0`},
		{map[string]any{"seedRows": int64(-1)}, `option "seedRows"`},
		{map[string]any{"tracker": "magic"}, `option "tracker"`},
		{map[string]any{"timeout": "soon"}, `option "timeout"`},
		{map[string]any{"timeout": int64(0)}, `option "timeout"`},
		{map[string]any{"rowBytes": int64(-1)}, `option "rowBytes"`},
		{map[string]any{"toastShare": 1.5}, `option "toastShare": want 0 to 1, got 1.5`},
		{map[string]any{"reuseShare": -1}, `option "reuseShare": want 0 to 1, got -1`},
		{map[string]any{"choice": "hot"}, `option "choice": want uniform or zipf, got "hot"`},
		{map[string]any{"zipf": int64(1)}, `option "zipf": want an exponent above 1`},
		{map[string]any{"sample": -0.1}, `option "sample"`},
		{map[string]any{"trackerBudget": int64(0)}, `option "trackerBudget"`},
		{map[string]any{"abortAfter": int64(0)}, `option "abortAfter"`},
		{map[string]any{"statementTimeout": int64(0)}, `option "statementTimeout"`},
	} {
		_, err := readOptions(test.given, environment(nil))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: got %v, want %s", test.given, err, test.want)
		}
	}
	for _, run := range []string{"x", "1", "000000000000", "0123456789abc"} {
		_, err := readOptions(nil, environment(map[string]string{"CDC_RUN": run}))
		if err == nil || !strings.Contains(err.Error(), "CDC_RUN=") {
			t.Errorf("CDC_RUN=%s: %v", run, err)
		}
	}
	_, err := readOptions(nil, environment(map[string]string{"CDC_SEED": "x"}))
	if err == nil || !strings.Contains(err.Error(), `CDC_SEED="x"`) {
		t.Errorf("got %v", err)
	}
}

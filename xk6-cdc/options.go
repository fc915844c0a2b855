package cdc

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.k6.io/k6/lib/types"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/xk6-cdc/tables"
	"github.com/cdclab/cdclab/xk6-cdc/tracker"
)

// Values of Options.Choice.
const (
	ChooseUniform = "uniform"
	ChooseZipf    = "zipf"
)

// Options is the argument of cdc.open(); index.d.ts describes each member. Two Options are equal
// with == when both mean the same generator.
type Options struct {
	Postgres   string          `json:"postgres"`
	Mongo      string          `json:"mongo"`
	Database   string          `json:"database"`
	Ledger     string          `json:"ledger"`
	Started    string          `json:"started"`
	Status     string          `json:"status"`
	Seed       int64           `json:"seed"`
	Mix        tables.Mix      `json:"mix"`
	Entities   tables.Entities `json:"entities"`
	Workers    int             `json:"workers"`
	Batch      int             `json:"batch"`
	SeedRows   int             `json:"seedRows"`
	RowBytes   int             `json:"rowBytes"`
	ToastShare float64         `json:"toastShare"`
	ReuseShare float64         `json:"reuseShare"`
	Choice     string          `json:"choice"`
	Zipf       float64         `json:"zipf"`
	Tracker    string          `json:"tracker"`
	// TrackerBudget is 0 for the default of the tracker's kind.
	TrackerBudget    float64        `json:"trackerBudget"`
	Sample           float64        `json:"sample"`
	Trends           float64        `json:"trends"`
	Trace            float64        `json:"trace"`
	Timeout          types.Duration `json:"timeout"`
	StatementTimeout types.Duration `json:"statementTimeout"`
	AbortAfter       types.Duration `json:"abortAfter"`
	// overridden names the options set by the script to other values than the environment asks for,
	// with commas.
	overridden string
	// marker is of the run, and from the environment alone, because the lab deletes by the marker.
	marker ledger.Marker
}

// DefaultOptions returns the values of cdc.open() for a silent script and environment.
func DefaultOptions() Options {
	return Options{
		Postgres: "postgres://postgres@127.0.0.1:5432/postgres",
		Mongo:    "mongodb://127.0.0.1:27017",
		Database: "cdc", Seed: 1, Workers: 16, Batch: 1, SeedRows: 200, Tracker: tracker.Auto,
		Mix:              tables.Mix{Insert: 70, Update: 20, Delete: 10},
		Entities:         tables.Entities{Customer: 40, Address: 20, Order: 20, OrderItem: 20},
		Timeout:          types.Duration(30 * time.Second),
		StatementTimeout: types.Duration(5 * time.Second),
		AbortAfter:       types.Duration(time.Minute),
		Choice:           ChooseUniform, Zipf: 1.1, Sample: 1, Trends: 1,
	}
}

// readOptions lays the script's options (any value in JSON's reach) over the environment over the
// defaults. The errors name the option or the variable.
func readOptions(given any, env func(name string) (string, bool)) (Options, error) {
	options := DefaultOptions()
	for name, into := range map[string]*string{
		"postgres": &options.Postgres, "mongo": &options.Mongo, "database": &options.Database,
		"ledger": &options.Ledger, "started": &options.Started, "status": &options.Status,
	} {
		if value, ok := env(ownVariable[name]); ok && value != "" {
			*into = value
		}
	}
	if text, ok := env(ownVariable["seed"]); ok && text != "" {
		seed, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return options, fmt.Errorf("CDC_SEED=%q: want a whole number", text)
		}
		options.Seed = seed
	}
	if text, ok := env(ledger.MarkerVariable); ok && text != "" {
		var err error
		if options.marker, err = ledger.ParseMarker(text); err != nil {
			return options, err
		}
	}
	if text, ok := env(optionsVariable); ok && text != "" {
		if err := options.overlayText(text); err != nil {
			return options, fmt.Errorf("%s: %w", optionsVariable, err)
		}
	}
	asked := options
	if given != nil {
		if err := options.overlay(given); err != nil {
			return options, err
		}
	}
	options.overridden = strings.Join(overridden(asked, options, env), ",")
	return options, options.validate()
}

// overridden names the options asked for by the environment and set to other values by the script,
// in order.
func overridden(asked, used Options, env func(name string) (string, bool)) (names []string) {
	var members map[string]any
	text, _ := env(optionsVariable)
	_ = json.Unmarshal([]byte(text), &members) // overlayText has read the text
	a, u := reflect.ValueOf(asked), reflect.ValueOf(used)
	for i := range a.NumField() {
		name := a.Type().Field(i).Tag.Get("json")
		value, is := env(ownVariable[name])
		if (is && value != "" || members[name] != nil) && !a.Field(i).Equal(u.Field(i)) {
			names = append(names, name)
		}
	}
	return names
}

// optionsVariable holds options as a JSON object, for scripts without options of their own.
const optionsVariable = "CDC_OPTIONS"

// ownVariable are the options with a variable each; a second place for one option could contradict.
var ownVariable = map[string]string{
	"postgres": "CDC_POSTGRES_DSN", "mongo": "CDC_MONGO_URI", "database": "CDC_MONGO_DATABASE",
	"ledger": "CDC_LEDGER", "started": "CDC_STARTED", "status": "CDC_STATUS", "seed": "CDC_SEED",
}

func (o *Options) overlayText(text string) error {
	var members map[string]any
	if err := json.Unmarshal([]byte(text), &members); err != nil {
		return fmt.Errorf("want a JSON object of options: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if variable := ownVariable[name]; variable != "" {
			return fmt.Errorf("option %q: use %s", name, variable)
		}
	}
	if err := o.overlay(members); err != nil {
		return err
	}
	return o.validate()
}

func (o *Options) overlay(given any) error {
	members, ok := given.(map[string]any)
	if !ok {
		return fmt.Errorf("want an object of options, got %T", given)
	}
	for name, value := range members {
		if value == nil { // {postgres: __ENV.PG} where PG is not set
			delete(members, name)
		}
	}
	// Given weights replace the default ones: {insert: 1} means inserts only.
	if members["mix"] != nil {
		o.Mix = tables.Mix{}
	}
	if members["entities"] != nil {
		o.Entities = tables.Entities{}
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		text, err := json.Marshal(map[string]any{name: members[name]})
		if err != nil {
			return optionError(name, err)
		}
		decoder := json.NewDecoder(strings.NewReader(string(text)))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(o); err != nil {
			return optionError(name, err)
		}
	}
	if members["trackerBudget"] != nil && o.TrackerBudget == 0 {
		return errBudget(0)
	}
	return nil
}

// inScripts are the script author's words for the kinds of Options' members.
var inScripts = map[reflect.Kind]string{
	reflect.String: "a string", reflect.Int: "a whole number", reflect.Int64: "a whole number",
	reflect.Float64: "a number", reflect.Struct: "an object",
}

func optionError(name string, err error) error {
	var mistyped *json.UnmarshalTypeError
	if errors.As(err, &mistyped) {
		return fmt.Errorf("option %q: got a %s, want %s", mistyped.Field, mistyped.Value,
			inScripts[mistyped.Type.Kind()])
	}
	var notJSON *json.UnsupportedValueError
	if errors.As(err, &notJSON) { // NaN, for example
		return fmt.Errorf("option %q: got %s, want what JSON can hold", name, notJSON.Str)
	}
	if unknown, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		if strings.Trim(unknown, `"`) == name {
			return fmt.Errorf("there is no option %q; index.d.ts lists them", name)
		}
		return fmt.Errorf("option %q has no member %s", name, unknown)
	}
	return fmt.Errorf("option %q: %w", name, err)
}

func (o *Options) validate() error {
	mix, entities := o.Mix, o.Entities
	switch {
	case o.Postgres == "":
		return errors.New(`option "postgres": want a connection string`)
	case o.Mongo == "":
		return errors.New(`option "mongo": want a connection string`)
	case o.Database == "":
		return errors.New(`option "database": want the name of the database the consumer writes to`)
	case !mix.IsSound():
		return fmt.Errorf(`option "mix": %w, got %+v`, errWeights, mix)
	case !entities.IsSound():
		return fmt.Errorf(`option "entities": %w, got %+v`, errWeights, entities)
	case o.Workers < 1 || o.Workers > 1024:
		return fmt.Errorf(`option "workers": want 1 to 1024, got %d`, o.Workers)
	case o.Batch < 1 || o.Batch > 1000:
		return fmt.Errorf(`option "batch": want 1 to 1000, got %d`, o.Batch)
	case o.SeedRows < 0 || o.SeedRows > 1_000_000:
		return fmt.Errorf(`option "seedRows": want 0 to 1000000, got %d`, o.SeedRows)
	case !slices.Contains([]string{tracker.Auto, tracker.ChangeStream, tracker.Poll}, o.Tracker):
		return fmt.Errorf(`option "tracker": want auto, changestream or poll, got %q`, o.Tracker)
	case o.RowBytes < 0 || o.RowBytes > 1<<20:
		return fmt.Errorf(`option "rowBytes": want 0 to 1048576, got %d`, o.RowBytes)
	case !isShare(o.ToastShare):
		return fmt.Errorf(`option "toastShare": want 0 to 1, got %v`, o.ToastShare)
	case !isShare(o.ReuseShare):
		return fmt.Errorf(`option "reuseShare": want 0 to 1, got %v`, o.ReuseShare)
	case o.Choice != ChooseUniform && o.Choice != ChooseZipf:
		return fmt.Errorf(`option "choice": want uniform or zipf, got %q`, o.Choice)
	case !(o.Zipf > 1 && o.Zipf <= 10):
		return fmt.Errorf(`option "zipf": want an exponent above 1, at most 10, got %v`, o.Zipf)
	case !isShare(o.Sample):
		return fmt.Errorf(`option "sample": want 0 to 1, got %v`, o.Sample)
	case !isShare(o.Trends):
		return fmt.Errorf(`option "trends": want 0 to 1, got %v`, o.Trends)
	case !isShare(o.Trace):
		return fmt.Errorf(`option "trace": want 0 to 1, got %v`, o.Trace)
	case !isShare(o.TrackerBudget):
		return errBudget(o.TrackerBudget)
	case o.AbortAfter <= 0:
		return fmt.Errorf(`option "abortAfter": want a length such as "1m", got %s`, o.AbortAfter)
	case o.Timeout <= 0:
		return fmt.Errorf(`option "timeout": want a length such as "30s", got %s`, o.Timeout)
	case o.StatementTimeout < types.Duration(time.Millisecond):
		return fmt.Errorf(`option "statementTimeout": want a length such as "5s", got %s`,
			o.StatementTimeout)
	}
	return nil
}

func errBudget(got float64) error {
	return fmt.Errorf(`option "trackerBudget": want a share above 0, at most 1, got %v`, got)
}

// errWeights demands weights from which a choice can be made.
var errWeights = errors.New("want weights of at least 0 and one above")

// isShare is true if value is 0 to 1, and so false for NaN.
func isShare(value float64) bool { return value >= 0 && value <= 1 }

// shape returns the options of the rows.
func (o *Options) shape() tables.Shape {
	s := tables.Shape{RowBytes: o.RowBytes, LargeShare: o.ToastShare,
		Reuse: o.ReuseShare}
	if o.Choice == ChooseZipf {
		s.Zipf = o.Zipf
	}
	return s
}

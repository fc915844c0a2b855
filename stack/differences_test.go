package stack

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// acceptedDifferences lists all differences between our connector and Debezium, by case and path
// (both regular expressions, whole matches). The paths of a record are "key.<column>",
// "header.<name>" and "<member>.<member>" of the envelope; "record of <schema> op <op>" stands for
// all of a record sent by one connector only, "order of <schema>" for the records' order.
var acceptedDifferences = []struct{ cases, path, why, source string }{
	{".*", `header\.cdc\.commit_lsn`,
		"ours says where the transaction's commit is, Debezium says it nowhere",
		"consumer/debezium: HeaderCommitLSN"},
	{".*", `header\.__debezium\.context\..*`,
		"which task of Debezium sent it; a consumer does not need it",
		"in every record of Debezium 3.6.3"},
	{".*", "record of __debezium-heartbeat op ",
		"ours needs no heartbeat: it confirms what PostgreSQL's keepalives tell",
		"Debezium's heartbeat.interval.ms"},
	{"logical_message", "record of message op m",
		"ours leaves pg_logical_emit_message out; no table is concerned",
		"pgoutput's option messages, off by default"},
	{"incremental_source", "record of public op r",
		"ours has no signals and no incremental snapshot",
		"Debezium's signal.data.collection"},
	{"kitchen_sink|snapshot_types|toast_default",
		`(before|after)\.(c_bit1?|c_varbit|c_money|c_hstore|h|c_point(\..*)?)`,
		"of types that the lab's tables have not, ours sends PostgreSQL's text",
		"stack/connector/value.go"},
	{"kitchen_sink", `after\.c_int_arr\..*`,
		"of an array in an array Debezium keeps only nulls; ours sends it",
		"Debezium 3.6.3: {{1,2},{3,4}} arrives as [null,null]"},
}

// corpusCases are the cases of the captured corpus.
var corpusCases = strings.Fields(`
	big_row copy ddl_add_column ddl_add_table ddl_drop_column ddl_enum_add ddl_int_to_bigint
	ddl_not_null ddl_numeric_to_text ddl_rename_column ddl_set_default ddl_varchar_widen
	delete_default delete_full delete_reinsert float_nan_inf generated heartbeat
	incremental_source insert interleaved_commit_order interleaved_same_key kitchen_sink large_tx
	logical_message no_pk no_pk_default_identity_rejected null_vs_default numeric_nan
	numeric_nan_not_null pk_change_full real_nan_inf restart_duplicates rollback snapshot_initial
	snapshot_types timestamp_infinity timestamptz_infinity toast_default truncate unicode
	update_default update_full`)

// ownCases are the cases that the corpus lacks.
var ownCases = []string{"generated_snapshot"}

// notCompared lists the parts of the corpus left out: cases, and Debezium's other configurations.
// The test plays each case with the lab's profile tuned: the corpus' schemas-off, with the
// truncates of its truncate-on and the heartbeats of its heartbeat. Our connector has no settings,
// so another configuration would show only the effect of a setting of Debezium's.
var notCompared = []struct{ what, why string }{
	{"restart_duplicates",
		"which records come twice is decided by when the worker is killed, " +
			"so no two readers have the same; that nothing is lost then is seen by TestNative, " +
			"TestCrashesUnderWritesLoseNothing and chaos/plans/source-kills.yaml"},
	{"configurations schemas-on, propagate and decimal-string",
		"ours sends no schemas, and decimals always as strings; " +
			"the consumer is tested with their records (consumer/debezium/corpus)"},
	{"configurations time-connect and time-adaptive-microseconds",
		"ours has Debezium's default, adaptive; the consumer's tests, too"},
	{"configurations tx-metadata, flat-default and no-tombstones",
		"ours has no such setting; the consumer's tests, too"},
}

// clocks are values never equal in two readers of one log: the time of reading, the reader's own
// version, and in source.sequence the last commit seen before. A snapshot's rows have also a
// position and a time of their own.
var (
	clocks         = regexp.MustCompile(`^(ts_(ms|us|ns)|source\.(version|sequence\.0))$`)
	snapshotClocks = regexp.MustCompile(`^source\.(ts_(ms|us|ns)|txId|lsn|sequence\.1)$`)
)

// accepted returns the row of acceptedDifferences for a difference, -1 for none.
func accepted(name, path string) int {
	return slices.IndexFunc(acceptedDifferences,
		func(d struct{ cases, path, why, source string }) bool {
			matches := func(pattern, text string) bool {
				return regexp.MustCompile(`^(?:` + pattern + `)$`).MatchString(text)
			}
			_, path, _ := strings.Cut(path, " ")
			return matches(d.cases, name) && matches(d.path, path)
		})
}

// filtered returns true if the command line asked for some cases only.
func filtered() bool { return strings.Contains(flag.Lookup("test.run").Value.String(), "/") }

// difference is a place with unequal values in two records, and the value on each side. The path is
// "<topic>/<partition> <op> <key> <path>".
type difference struct{ path, theirs, ours string }

// differ compares the records of two connectors, partition by partition: the set of records, the
// order, and each value.
func differ(theirs, ours []*kgo.Record) []difference {
	a, b := byPlace(theirs), byPlace(ours)
	var found []difference
	for _, place := range slices.Sorted(maps.Keys(union(a, b))) {
		x, y := a[place], b[place]
		both := func(l *lane, other *lane) []string {
			return slices.DeleteFunc(slices.Clone(l.names()), func(name string) bool {
				return other.has(name) == nil
			})
		}
		for _, name := range y.names() {
			if x.has(name) == nil {
				found = append(found, difference{name + recordOf(place, y.has(name)),
					"sent nothing", fmt.Sprint(y.has(name))})
			}
		}
		for _, name := range x.names() {
			values := y.has(name)
			if values == nil {
				found = append(found, difference{name + recordOf(place, x.has(name)),
					fmt.Sprint(x.has(name)), "sent nothing"})
				continue
			}
			found = append(found, differValues(name, x.has(name), values)...)
		}
		if one, two := both(x, y), both(y, x); !strings.HasSuffix(place, "/any") &&
			!slices.Equal(one, two) {
			found = append(found, difference{place + " order of " + schemaOf(place),
				fmt.Sprint(one), fmt.Sprint(two)})
		}
	}
	return found
}

func recordOf(place string, values map[string]string) string {
	return " record of " + schemaOf(place) + " op " + strings.Trim(values["op"], `"`)
}

// schemaOf returns the middle of a topic's name, "public" of c01.public.customer/0.
func schemaOf(place string) string {
	if strings.HasPrefix(place, "__debezium") {
		place, _, _ = strings.Cut(place, ".")
		return place
	}
	return strings.FieldsFunc(place, func(r rune) bool { return r == '.' || r == '/' })[1]
}

func differValues(name string, theirs, ours map[string]string) []difference {
	var found []difference
	for _, path := range slices.Sorted(maps.Keys(union(theirs, ours))) {
		x, inTheirs := theirs[path]
		y, inOurs := ours[path]
		if clocks.MatchString(path) || theirs["op"] == `"r"` && snapshotClocks.MatchString(path) {
			continue
		}
		if inTheirs != inOurs || !sameValue(x, y) {
			found = append(found, difference{name + " " + path, orAbsent(x, inTheirs),
				orAbsent(y, inOurs)})
		}
	}
	return found
}

func orAbsent(text string, there bool) string {
	if !there {
		return "has none"
	}
	return text
}

// sameValue compares JSON texts; numbers with a fraction or an exponent by value: 1e+308 is 1E308.
func sameValue(x, y string) bool {
	if x == y {
		return true
	}
	a, errA := strconv.ParseFloat(x, 64)
	b, errB := strconv.ParseFloat(y, 64)
	return errA == nil && errB == nil && strings.ContainsAny(x+y, ".eE") && a == b
}

// lane is the records of one place in their order, each with its values by path.
type lane struct {
	order  []string
	values map[string]map[string]string
}

func (l *lane) names() []string {
	if l == nil {
		return nil
	}
	return l.order
}

func (l *lane) has(name string) map[string]string {
	if l == nil {
		return nil
	}
	return l.values[name]
}

// byPlace files records by topic and partition. Without a key any partition will do, and nothing is
// in order.
func byPlace(records []*kgo.Record) map[string]*lane {
	lanes := map[string]*lane{}
	for _, r := range records {
		values := flatten(r)
		place := fmt.Sprintf("%s/%d", r.Topic, r.Partition)
		key := string(r.Key)
		if r.Key == nil {
			place, key = r.Topic+"/any", values["source.lsn"]
		}
		l := lanes[place]
		if l == nil {
			l = &lane{values: map[string]map[string]string{}}
			lanes[place] = l
		}
		name, n := "", 0
		for name == "" || l.values[name] != nil {
			n++
			name = strings.ReplaceAll(fmt.Sprintf("%s:%s:%s#%d", place, values["op"], key, n), " ",
				"_")
		}
		l.order, l.values[name] = append(l.order, name), values
	}
	return lanes
}

// flatten is a record's values by path, as JSON texts.
func flatten(r *kgo.Record) map[string]string {
	values := map[string]string{}
	flattenJSON(values, "key", r.Key)
	for _, h := range r.Headers {
		values["header."+h.Key] = string(h.Value)
	}
	if r.Value == nil {
		values["tombstone"] = "true"
		return values
	}
	flattenJSON(values, "", r.Value)
	return values
}

func flattenJSON(into map[string]string, path string, text []byte) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		into[path] = string(text)
		return
	}
	flattenValue(into, path, value)
}

func flattenValue(into map[string]string, path string, value any) {
	join := func(member string) string { return strings.TrimPrefix(path+"."+member, ".") }
	// The positions in source.sequence are a text with JSON inside.
	if text, ok := value.(string); ok && path == "source.sequence" {
		flattenJSON(into, path, []byte(text))
		return
	}
	switch value := value.(type) {
	case map[string]any:
		for member, v := range value {
			flattenValue(into, join(member), v)
		}
		if len(value) == 0 {
			into[path] = "{}"
		}
	case []any:
		for i, v := range value {
			flattenValue(into, join(strconv.Itoa(i)), v)
		}
		if len(value) == 0 {
			into[path] = "[]"
		}
	default:
		text, _ := json.Marshal(value)
		into[path] = string(text)
	}
}

func union[V any](a, b map[string]V) map[string]bool {
	keys := map[string]bool{}
	for key := range a {
		keys[key] = true
	}
	for key := range b {
		keys[key] = true
	}
	return keys
}

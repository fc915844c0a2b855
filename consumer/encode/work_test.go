package encode

import (
	"fmt"
	"maps"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/entity"
)

// growing are values of about so many bytes.
var growing = map[string]func(bytes int) string{
	"digits":   func(n int) string { return strings.Repeat("7", n) },
	"fraction": func(n int) string { return "-0." + strings.Repeat("0", n) + "1" },
	"zeros":    func(n int) string { return "1" + strings.Repeat("0", n) + "e-4000" },
	"text":     func(n int) string { return quote(strings.Repeat("x", n)) },
	"base64":   func(n int) string { return quote(strings.Repeat("7", n/4*4)) },
	"bits":     func(n int) string { return quote(strings.Repeat("01", n/2)) },
	"decimal":  func(n int) string { return quote(strings.Repeat("1", n) + ".5e12") },
	"clock":    func(n int) string { return quote("10:00:00." + strings.Repeat("1", n)) },
	"duration": func(n int) string { return quote("P" + strings.Repeat("1", n) + "D") },
	"timestamp": func(n int) string {
		return quote("2026-11-22T10:00:00." + strings.Repeat("0", n) + "Z")
	},
	"escapes": func(n int) string { return `"` + strings.Repeat(`\u00e9`, n/6) + `"` },
	"numbers": func(n int) string { return "[1" + strings.Repeat(",1", n/2) + "]" },
	"arrays":  func(n int) string { return "[[]" + strings.Repeat(",[]", n/3) + "]" },
	"nested": func(n int) string {
		return strings.Repeat("[", 40) + "1" + strings.Repeat(",1", n/2) + strings.Repeat("]", 40)
	},
	"objects": func(n int) string { return `[{"a":1}` + strings.Repeat(`,{"a.b":1}`, n/10) + "]" },
	"scales": func(n int) string {
		const one = `{"scale":19999,"value":"AQ=="}`
		return "[" + one + strings.Repeat(","+one, n/len(one)) + "]"
	},
	"members": func(n int) string {
		var all []string
		for i := range n / 10 {
			all = append(all, fmt.Sprintf(`"n%d.":1`, i))
		}
		return "{" + strings.Join(all, ",") + "}"
	},
}

// TestEveryKindIsLinear: in a column of every kind and of every type, eight times the value costs
// about eight times the work. The test is not parallel, because the counts are the process's.
func TestEveryKindIsLinear(t *testing.T) {
	const times, size = 8, 8 << 10
	tables := map[entity.Kind]*Table{"": generic()}
	for kind := range untyped {
		tables[kind] = tableOf(t, "kind: "+string(kind))
	}
	tables["range"] = tableOf(t, "kind: decimal, min: -1E-6000, max: 1E+6000")
	tables["enum"] = tableOf(t, "kind: text, enum: [a], transitions: {a: [a]}")
	for _, kind := range slices.Sorted(maps.Keys(tables)) {
		for _, name := range slices.Sorted(maps.Keys(growing)) {
			var why string
			for range 3 { // the machine may have been busy
				small := costOf(t, tables[kind], growing[name](size/times))
				large := costOf(t, tables[kind], growing[name](size))
				why = ""
				if large.cpu > 5*times/2*max(small.cpu, 2*time.Millisecond) ||
					large.allocated > 5*times/2*max(small.allocated, 1<<20) {
					why = fmt.Sprintf("%s in a column of %q: %v, an eighth %v", name, kind, large,
						small)
				}
				if why == "" {
					break
				}
			}
			if why != "" {
				t.Error(why)
			}
		}
	}
}

// typesByForm is a type of each form, and an array of each.
func typesByForm() []*debezium.Type {
	type forms struct{ own, items form }
	seen := map[forms]bool{}
	return slices.DeleteFunc(slices.Clone(fuzzTypes), func(t *debezium.Type) bool {
		f := forms{own: formOfType(t)}
		if t != nil && t.Items != nil {
			f.items = formOfType(t.Items)
		}
		before := seen[f]
		seen[f] = true
		return before
	})
}

type cost struct {
	cpu       time.Duration
	allocated uint64
}

// costOf is the cost of a value in a column of each type.
func costOf(t *testing.T, table *Table, text string) cost {
	t.Helper()
	v := parse(t, text)
	encoder := new(Encoder)
	spent := func() cost {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
		metrics.Read(sample)
		return cost{time.Duration(u.Utime.Nano() + u.Stime.Nano()), sample[0].Value.Uint64()}
	}
	runtime.GC()
	before := spent()
	for _, typ := range typesByForm() {
		row := debezium.Row{{Name: "v", Value: v, Type: typ}}
		event := &debezium.Event{Op: debezium.Update, Before: row, After: row,
			Key: debezium.Row{{Name: "id", Value: parse(t, `"1"`)}}}
		_, err := encoder.Encode(table, event, Facts{Recorded: commit, Size: len(text)})
		if _, large := err.(*SizeError); err != nil && !large {
			t.Fatal(err)
		}
	}
	after := spent()
	return cost{after.cpu - before.cpu, after.allocated - before.allocated}
}

package check

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/reports"
)

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// plant puts one defect into the world and returns the expected finding: entity, key, status,
// fields.
type plant func(w *world) reports.Example

// flat and embedded draw a Spec and the key of one of the Spec's rows.
func flat(w *world) (*entity.Spec, string) {
	spec := w.spec(rapid.SampledFrom([]string{"customer", "address", "order"}).Draw(w.t, "spec"))
	return spec, w.any(spec.Entity)
}

func embedded(w *world) (*entity.Spec, string) { return w.spec("order_item"), w.any("order_item") }

func either(w *world) (*entity.Spec, string) {
	if rapid.Bool().Draw(w.t, "embedded") {
		return embedded(w)
	}
	return flat(w)
}

// field draws a Field of one of the kinds with a value in the row, but no other row's key.
func field(w *world, spec *entity.Spec, key string, kinds ...entity.Kind) entity.Field {
	var fields []entity.Field
	for _, f := range spec.Fields {
		reference := slices.ContainsFunc(spec.References, func(r entity.Reference) bool {
			return r.Column == f.Column
		})
		if f.Column != spec.Key && f.Column != versionColumn && !reference &&
			slices.Contains(kinds, f.Kind) &&
			w.rows[spec.Entity][key][f.Column] != nil {
			fields = append(fields, f)
		}
	}
	return rapid.SampledFrom(fields).Draw(w.t, "field")
}

var plants = map[string]plant{
	"no document": func(w *world) reports.Example {
		spec := w.spec(rapid.SampledFrom([]string{"customer", "address"}).Draw(w.t, "spec"))
		key := w.any(spec.Entity)
		delete(w.documents[spec.Collection], key)
		return reports.Example{Status: reports.Lost, Entity: spec.Entity, Key: key}
	},
	"no item": func(w *world) reports.Example {
		spec, key := embedded(w)
		delete(items(w.order(spec, key), spec), key)
		return reports.Example{Status: reports.Lost, Entity: spec.Entity, Key: key}
	},
	"a tombstone and a row": func(w *world) reports.Example {
		spec, key := either(w)
		bury(w.of(spec, key))
		return reports.Example{Status: reports.Lost, Entity: spec.Entity, Key: key,
			Detail: "only a tombstone"}
	},
	"a shell and a row": func(w *world) reports.Example {
		spec, key := w.spec("order"), w.any("order")
		document := w.documents[spec.Collection][key]
		w.documents[spec.Collection][key] = bson.M{"_id": key, "cdcMetadata": bson.M{"shell": true},
			"items": document["items"]}
		return reports.Example{Status: reports.Lost, Entity: spec.Entity, Key: key,
			Detail: "only a shell"}
	},
	"an older version": func(w *world) reports.Example {
		spec, key := either(w)
		w.of(spec, key)["labVersion"] = rapid.Int64Range(0,
			w.of(spec, key)["labVersion"].(int64)-1).Draw(w.t, "old")
		return reports.Example{Status: reports.Stale, Entity: spec.Entity, Key: key,
			Fields: []string{"labVersion"}}
	},
	"a newer version": func(w *world) reports.Example {
		spec, key := either(w)
		w.of(spec, key)["labVersion"] = w.version + 1
		return reports.Example{Status: reports.Corrupt, Entity: spec.Entity, Key: key,
			Fields: []string{"labVersion"}, Detail: "ahead of its row"}
	},
	"no version": func(w *world) reports.Example {
		spec, key := either(w)
		delete(w.of(spec, key), "labVersion")
		return reports.Example{Status: reports.Corrupt, Entity: spec.Entity, Key: key,
			Fields: []string{"labVersion"}, Detail: "no version"}
	},
	"another text": func(w *world) reports.Example {
		spec, key := either(w)
		f := field(w, spec, key, entity.Text)
		w.of(spec, key)[f.Member()] = w.of(spec, key)[f.Member()].(string) +
			rapid.SampledFrom([]string{"x", " ", "\x00"}).Draw(w.t, "more")
		return reports.Example{Status: reports.Corrupt, Entity: spec.Entity, Key: key,
			Fields: []string{f.Member()}, Detail: "other content"}
	},
	"a null": func(w *world) reports.Example {
		spec, key := either(w)
		f := field(w, spec, key, entity.Text, entity.Decimal, entity.Timestamp, entity.Bool)
		delete(w.of(spec, key), f.Member())
		delete(w.of(spec, key), f.Member()+"Exact")
		return reports.Example{Status: reports.Corrupt, Entity: spec.Entity, Key: key,
			Fields: []string{f.Member()}, Detail: "other content"}
	},
	"a cent more": func(w *world) reports.Example {
		spec := w.spec(rapid.SampledFrom([]string{"order", "order_item"}).Draw(w.t, "spec"))
		key := w.any(spec.Entity)
		f := field(w, spec, key, entity.Decimal)
		var euros, cents int
		if _, err := fmt.Sscanf(strings.TrimPrefix(*w.rows[spec.Entity][key][f.Column], "-"),
			"%d.%d", &euros, &cents); err != nil {
			w.t.Fatal(err)
		}
		more, err := bson.ParseDecimal128(fmt.Sprintf("%d.%02d", euros+1, cents))
		if err != nil {
			w.t.Fatal(err)
		}
		w.of(spec, key)[f.Member()] = more
		return reports.Example{Status: reports.Corrupt, Entity: spec.Entity, Key: key,
			Fields: []string{f.Member()}, Detail: "other content"}
	},
	"a microsecond more": func(w *world) reports.Example {
		spec, key := flat(w)
		f := field(w, spec, key, entity.Timestamp)
		at, err := time.Parse("2006-01-02 15:04:05.999999-07", *w.rows[spec.Entity][key][f.Column])
		if err != nil {
			w.t.Fatal(err)
		}
		at = at.Add(time.Microsecond)
		document := w.of(spec, key)
		document[f.Member()] = bson.NewDateTimeFromTime(at)
		document[f.Member()+"Exact"] = at.UTC().Format(time.RFC3339Nano)
		return reports.Example{Status: reports.Corrupt, Entity: spec.Entity, Key: key,
			Fields: []string{f.Member()}, Detail: "other content"}
	},
	"another kind": func(w *world) reports.Example {
		spec, key := either(w)
		f := field(w, spec, key, entity.Text, entity.Decimal, entity.Timestamp, entity.Bool,
			entity.Int)
		w.of(spec, key)[f.Member()] = bson.M{"a": 1}
		return reports.Example{Status: reports.Corrupt, Entity: spec.Entity, Key: key}
	},
	"an item that is none": func(w *world) reports.Example {
		spec, key := embedded(w)
		items(w.order(spec, key), spec)[key] = "a text"
		return reports.Example{Status: reports.Corrupt, Entity: spec.Entity, Key: key,
			Detail: "a string and no document"}
	},
	"items that are none": func(w *world) reports.Example {
		spec := w.spec("order")
		key := w.insert(spec)
		w.of(spec, key)["items"] = rapid.SampledFrom([]any{"a text", bson.A{}, int64(1)}).Draw(w.t,
			"items")
		return reports.Example{Status: reports.Corrupt, Entity: spec.Entity, Key: key,
			Detail: "items is a "}
	},
	"another reference": func(w *world) reports.Example {
		spec := w.spec(rapid.SampledFrom([]string{"address", "order"}).Draw(w.t, "spec"))
		key := w.any(spec.Entity)
		w.of(spec, key)["customerId"] = w.uuid()
		return reports.Example{Status: reports.WrongParent, Entity: spec.Entity, Key: key,
			Fields: []string{"customerId"}}
	},
	"an item in another order": func(w *world) reports.Example {
		spec, key := embedded(w)
		item, old := w.of(spec, key), w.order(spec, key)
		items(w.otherOrder(old), spec)[key] = item
		delete(items(old, spec), key)
		return reports.Example{Status: reports.WrongParent, Entity: spec.Entity, Key: key,
			Detail: "alive in"}
	},
	"an item in another order and a tombstone": func(w *world) reports.Example {
		spec, key := embedded(w)
		item, old := w.of(spec, key), w.order(spec, key)
		items(w.otherOrder(old), spec)[key] = item
		items(old, spec)[key] = bson.M{"cdcMetadata": bson.M{"deleted": true}}
		return reports.Example{Status: reports.WrongParent, Entity: spec.Entity, Key: key,
			Detail: "alive in"}
	},
	"an item in two orders": func(w *world) reports.Example {
		spec, key := embedded(w)
		items(w.otherOrder(w.order(spec, key)), spec)[key] = w.of(spec, key)
		return reports.Example{Status: reports.WrongParent, Entity: spec.Entity, Key: key,
			Detail: "alive in"}
	},
	"a document without a row": func(w *world) reports.Example {
		spec, other := flat(w)
		key := w.uuid()
		w.documents[spec.Collection][key] = w.members(spec, w.rows[spec.Entity][other])
		w.documents[spec.Collection][key]["_id"] = key
		return reports.Example{Status: reports.Phantom, Entity: spec.Entity, Key: key}
	},
	"an item without a row": func(w *world) reports.Example {
		spec, other := embedded(w)
		key := w.uuid()
		items(w.order(spec, other), spec)[key] = w.members(spec, w.rows[spec.Entity][other])
		return reports.Example{Status: reports.Phantom, Entity: spec.Entity, Key: key}
	},
	"a revived tombstone": func(w *world) reports.Example {
		spec, key := w.fresh()
		fate := rapid.SampledFrom([]ledger.Fate{ledger.Acked, ledger.Indeterminate}).Draw(w.t,
			"fate")
		document := w.of(spec, key)
		w.remove(spec, key, fate)
		delete(document["cdcMetadata"].(bson.M), "deleted")
		return reports.Example{Status: reports.Resurrected, Entity: spec.Entity, Key: key,
			Detail: "alive after delete"}
	},
	"PostgreSQL lost a row": func(w *world) reports.Example {
		spec, key := w.fresh()
		w.write(spec.Entity, key, ledger.Update, ledger.Acked)
		if rapid.Bool().Draw(w.t, "tombstone") {
			bury(w.of(spec, key))
		}
		delete(w.rows[spec.Entity], key)
		return reports.Example{Status: reports.SourceLoss, Entity: spec.Entity, Key: key,
			Detail: "PostgreSQL has no row"}
	},
	"PostgreSQL lost an update": func(w *world) reports.Example {
		spec, key := either(w)
		w.write(spec.Entity, key, ledger.Update, ledger.Acked)
		return reports.Example{Status: reports.SourceLoss, Entity: spec.Entity, Key: key,
			Detail: "PostgreSQL has version"}
	},
	"PostgreSQL lost a delete": func(w *world) reports.Example {
		spec, key := either(w)
		w.write(spec.Entity, key, ledger.Delete, ledger.Acked)
		return reports.Example{Status: reports.SourceLoss, Entity: spec.Entity, Key: key,
			Detail: "was acked and PostgreSQL has version"}
	},
}

// fresh inserts a row without referring rows.
func (w *world) fresh() (*entity.Spec, string) {
	spec := w.spec(rapid.SampledFrom([]string{"customer", "address", "order",
		"order_item"}).Draw(w.t, "spec"))
	return spec, w.insert(spec)
}

// otherOrder draws a live order's document, but not this order's.
func (w *world) otherOrder(this bson.M) bson.M {
	orders := slices.DeleteFunc(sortedKeys(w.rows["order"]), func(key string) bool {
		return key == this["_id"]
	})
	return w.documents["orders"][rapid.SampledFrom(orders).Draw(w.t, "other order")]
}

func TestNothingPlantedNothingFound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		if found := newWorld(t).judge(); len(found) > 0 {
			t.Fatalf("found %+v", found)
		}
	})
}

// TestEveryPlantIsFound: one defect gives one finding, of the right key and status.
func TestEveryPlantIsFound(t *testing.T) {
	t.Parallel()
	for name, put := range plants {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				w := newWorld(t)
				want := put(w)
				found := w.judge()
				if len(found) != 1 {
					t.Fatalf("want one finding %+v, got %+v", want, found)
				}
				got := found[0].Example
				if !strings.Contains(got.Detail, want.Detail) || got.Detail == "" {
					t.Errorf("detail %q, want %q in it", got.Detail, want.Detail)
				}
				got.Detail = want.Detail
				if diff := gocmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// TestPlantsDoNotHideEachOther: every one of several defects of different keys is found.
func TestPlantsDoNotHideEachOther(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		var want []id
		for range rapid.IntRange(2, 5).Draw(t, "plants") {
			spec, key := w.fresh()
			delete(w.of(spec, key), "labVersion")
			want = append(want, id{spec.Entity, key})
		}
		var got []id
		for _, f := range w.judge() {
			if f.Status != reports.Corrupt {
				t.Errorf("%+v", f)
			}
			got = append(got, f.id())
		}
		order := func(a, b id) int {
			return cmp.Or(cmp.Compare(a.entity, b.entity), cmp.Compare(a.key, b.key))
		}
		slices.SortFunc(want, order)
		slices.SortFunc(got, order)
		if !slices.Equal(want, got) {
			t.Errorf("planted %v, found %v", want, got)
		}
	})
}

// TestStatusesArePlanted: a status without a plant could be a status that the check cannot give.
func TestStatusesArePlanted(t *testing.T) {
	t.Parallel()
	planted := map[reports.RowStatus]bool{}
	rapid.Check(t, func(t *rapid.T) {
		if len(planted) > 0 {
			return
		}
		for _, name := range sortedKeys(plants) {
			planted[plants[name](newWorld(t)).Status] = true
		}
	})
	for _, status := range reports.RowStatuses {
		if status.Bad() && !planted[status] {
			t.Errorf("nothing plants %s", status)
		}
	}
}

func TestPack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		texts := rapid.SliceOf(rapid.Ptr(rapid.String(), true)).Draw(t, "texts")
		back := pack(texts).unpack()
		if !slices.EqualFunc(texts, back, equal) {
			t.Errorf("%v came back as %v", texts, back)
		}
	})
}

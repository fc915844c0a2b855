package check

import (
	"fmt"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/ledger"
)

// world is both sides of a drained pipeline, and the ledger of the writes behind both sides.
type world struct {
	t        *rapid.T
	registry *entity.Registry
	// rows are PostgreSQL's texts by entity, then by key, then by column.
	rows map[string]map[string]map[string]*string
	// documents by collection, then by _id.
	documents map[string]map[string]bson.M
	fates     *fates
	version   int64
	uuids     int
}

var start = time.Date(2026, 11, 22, 7, 55, 47, 0, time.UTC)

// newWorld draws a world in which nothing is wrong: rows with their documents and items, tombstones
// of deleted rows, items once in another order, and writes of every fate.
func newWorld(t *rapid.T) *world {
	w := &world{
		t: t, registry: entity.Default(),
		rows: map[string]map[string]map[string]*string{}, documents: map[string]map[string]bson.M{},
		fates: &fates{byKey: map[string]map[string]*fate{}},
	}
	for _, spec := range w.registry.All() {
		w.rows[spec.Entity] = map[string]map[string]*string{}
		w.documents[spec.Collection] = map[string]bson.M{}
	}
	for _, spec := range w.registry.All() {
		for range rapid.IntRange(2, 4).Draw(t, spec.Entity) {
			w.insert(spec)
		}
	}
	for _, spec := range w.registry.All() {
		// The last row of each entity stays: a plant needs one.
		if len(w.rows[spec.Entity]) > 2 && rapid.Bool().Draw(t, "delete") {
			if key, ok := w.childless(spec.Entity); ok {
				w.remove(spec, key, rapid.SampledFrom([]ledger.Fate{ledger.Acked,
					ledger.Indeterminate}).Draw(t, "fate"))
			}
		}
	}
	return w
}

func (w *world) spec(name string) *entity.Spec {
	spec, ok := w.registry.ByEntity(name)
	if !ok {
		w.t.Fatalf("no entity %s", name)
	}
	return spec
}

func (w *world) uuid() string {
	w.uuids++
	return fmt.Sprintf("a0eebc99-9c0b-4ef8-bb6d-%012x", w.uuids)
}

// any draws the key of a row.
func (w *world) any(entity string) string {
	return rapid.SampledFrom(sortedKeys(w.rows[entity])).Draw(w.t, entity)
}

func (w *world) write(entity, key string, op ledger.Op, fate ledger.Fate) int64 {
	w.version++
	w.fates.add(&ledger.Write{ID: w.version, Entity: entity, Key: key, Op: op, Fate: fate})
	return w.version
}

// insert writes a row and the consumer's copy.
func (w *world) insert(spec *entity.Spec) string {
	key := w.uuid()
	row := map[string]*string{spec.Key: &key}
	w.rows[spec.Entity][key] = row
	w.draw(spec, key, row)
	if rapid.Bool().Draw(w.t, "update") {
		w.draw(spec, key, row)
	}
	w.replicate(spec, row)
	if spec.Embed != nil && rapid.Bool().Draw(w.t, "moved") {
		old := w.any(spec.Embed.Into)
		if old != *row[spec.Embed.Parent] {
			items(w.documents[spec.Collection][old],
				spec)[key] = bson.M{"cdcMetadata": bson.M{"deleted": true, "operation": "UPDATE"}}
		}
	}
	return key
}

// draw fills the columns by an acknowledged write.
func (w *world) draw(spec *entity.Spec, key string, row map[string]*string) {
	for _, f := range spec.Fields {
		if f.Column != spec.Key {
			row[f.Column] = w.text(f)
		}
	}
	for _, r := range spec.References {
		parent := w.any(r.Entity)
		row[r.Column] = &parent
	}
	fate := rapid.SampledFrom([]ledger.Fate{ledger.Acked, ledger.Indeterminate}).Draw(w.t, "fate")
	version := fmt.Sprint(w.write(spec.Entity, key, ledger.Update, fate))
	row[versionColumn] = &version
	w.write(spec.Entity, key, ledger.Update, ledger.Failed)
}

// text draws a value as PostgreSQL prints it.
func (w *world) text(f entity.Field) *string {
	if !f.Required && f.Column != versionColumn && rapid.IntRange(0, 3).Draw(w.t, "null") == 0 {
		return nil
	}
	var text string
	switch f.Kind {
	case entity.UUID:
		text = w.uuid()
	case entity.Bool:
		text = fmt.Sprint(rapid.Bool().Draw(w.t, f.Column))
	case entity.Int:
		text = fmt.Sprint(rapid.IntRange(-5, 1000).Draw(w.t, f.Column))
	case entity.Decimal:
		cents := rapid.IntRange(-500, 100000).Draw(w.t, f.Column)
		text = strings.Replace(fmt.Sprintf("%.2f", float64(cents)/100), "-0.00", "0.00", 1)
	case entity.Timestamp:
		at := start.Add(time.Duration(rapid.IntRange(0, 5_000_000).Draw(w.t,
			f.Column)) * time.Microsecond)
		text = at.Format("2006-01-02 15:04:05.999999-07")
	default:
		text = rapid.SampledFrom([]string{"", "a", "ä€", "a long text of several words"}).Draw(w.t,
			f.Column)
	}
	return &text
}

// replicate makes the document or the item of a row.
func (w *world) replicate(spec *entity.Spec, row map[string]*string) {
	key := *row[spec.Key]
	made := w.members(spec, row)
	documents := w.documents[spec.Collection]
	if spec.Embed == nil {
		made["_id"] = key
		made["cdcMetadata"] = bson.M{"operation": "INSERT", "position": strings.Repeat("0", 32)}
		made["notInTheSpec"] = "of a column that was dropped"
		documents[key] = made
		return
	}
	items(documents[*row[spec.Embed.Parent]], spec)[key] = made
}

// members returns a row's members as BSON: a decimal of another scale, a date with the exact text
// beside.
func (w *world) members(spec *entity.Spec, row map[string]*string) bson.M {
	made := bson.M{}
	for _, f := range spec.Fields {
		text := row[f.Column]
		if f.Column == spec.Key {
			continue
		}
		if text == nil {
			if rapid.Bool().Draw(w.t, "null or absent") {
				made[f.Member()] = nil
			}
			continue
		}
		switch f.Kind {
		case entity.Bool:
			made[f.Member()] = *text == "true"
		case entity.Int:
			var n int64
			if _, err := fmt.Sscan(*text, &n); err != nil {
				w.t.Fatal(err)
			}
			made[f.Member()] = n
		case entity.Decimal:
			d, err := bson.ParseDecimal128(rapid.SampledFrom([]string{*text, *text + "00",
				strings.TrimSuffix(*text, "0")}).Draw(w.t, "scale"))
			if err != nil {
				w.t.Fatal(err)
			}
			made[f.Member()] = d
		case entity.Timestamp:
			at, err := time.Parse("2006-01-02 15:04:05.999999-07", *text)
			if err != nil {
				w.t.Fatal(err)
			}
			made[f.Member()] = bson.NewDateTimeFromTime(at)
			if at.Nanosecond()%1_000_000 != 0 {
				made[f.Member()+"Exact"] = at.UTC().Format(time.RFC3339Nano)
			}
		default:
			made[f.Member()] = *text
		}
	}
	return made
}

// childless finds a row without referring rows.
func (w *world) childless(name string) (string, bool) {
	for _, key := range sortedKeys(w.rows[name]) {
		if !w.referred(name, key) {
			return key, true
		}
	}
	return "", false
}

func (w *world) referred(name, key string) bool {
	for _, spec := range w.registry.All() {
		for _, r := range spec.References {
			for _, row := range w.rows[spec.Entity] {
				if r.Entity == name && *row[r.Column] == key {
					return true
				}
			}
		}
	}
	return false
}

// bury makes a tombstone of a document or an item.
func bury(row bson.M) {
	own, _ := row["cdcMetadata"].(bson.M)
	if own == nil {
		own = bson.M{}
		row["cdcMetadata"] = own
	}
	own["deleted"] = true
}

// remove deletes a row and leaves the tombstone.
func (w *world) remove(spec *entity.Spec, key string, fate ledger.Fate) {
	w.write(spec.Entity, key, ledger.Delete, fate)
	bury(w.of(spec, key))
	delete(w.rows[spec.Entity], key)
}

// of returns the document or the item of a row.
func (w *world) of(spec *entity.Spec, key string) bson.M {
	if spec.Embed == nil {
		return w.documents[spec.Collection][key]
	}
	return items(w.order(spec, key), spec)[key].(bson.M)
}

// order returns the document with a row's item.
func (w *world) order(spec *entity.Spec, key string) bson.M {
	return w.documents[spec.Collection][*w.rows[spec.Entity][key][spec.Embed.Parent]]
}

func items(document bson.M, spec *entity.Spec) bson.M {
	if document[spec.Embed.Field] == nil {
		document[spec.Embed.Field] = bson.M{}
	}
	return document[spec.Embed.Field].(bson.M)
}

// judge compares the two sides as Check does, without the databases.
func (w *world) judge() []finding {
	var ts tables
	for _, spec := range w.registry.All() {
		t := newComparison(newLayout(spec))
		for _, columns := range w.rows[spec.Entity] {
			key, r, err := t.row(columns)
			if err != nil {
				w.t.Fatal(err)
			}
			t.addRow(key, r)
		}
		ts = append(ts, t)
	}
	for _, t := range ts {
		if t.spec.Embed != nil {
			continue
		}
		for _, document := range w.documents[t.spec.Collection] {
			seeDocument(t, ts.inside(t), document)
		}
	}
	return ts.findings(w.fates)
}

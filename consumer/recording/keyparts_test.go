package recording

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cdclab/cdclab/consumer/apply"
)

// part is a change of the row {a, b, n} of the table p, whose key has the columns a and b.
func part(op string, a int, b string, n int, lsn uint64) taped {
	key := fmt.Sprintf(`{"a":%d,"b":%q}`, a, b)
	one := taped{table: "p", lsn: lsn, op: op, key: key,
		after: fmt.Sprintf(`{"a":%d,"b":%q,"n":%d}`, a, b, n)}
	if op == "d" {
		one.before, one.after = one.after, ""
	}
	return one
}

// TestDeletesWithPartOfTheKey: a delete whose key is zero or empty in part may be of the row with
// that key, or of a row whose key PostgreSQL sent in part, because message.key.columns are not all
// of the replica identity. The row with that key ends, no other row ends, and a delete without such
// a row is a letter.
func TestDeletesWithPartOfTheKey(t *testing.T) {
	t.Parallel()
	leaves, comes := part("d", 1, "", 0, 200), part("c", 2, "x", 3, 200)
	leaves.newKey, comes.oldKey = comes.key, leaves.key
	for name, c := range map[string]struct {
		log     tape
		living  string
		letters int
	}{
		"part not sent": {tape{part("c", 1, "x", 3, 101), part("d", 1, "", 0, 200)},
			"1x", 1},
		"the other part not sent": {tape{part("c", 1, "x", 3, 101), part("d", 0, "x", 0, 200)},
			"1x", 1},
		"the row with that key": {tape{part("c", 1, "", 3, 101), part("d", 1, "", 0, 200)}, "",
			0},
		"of zero": {tape{part("c", 0, "x", 3, 101), part("d", 0, "x", 0, 200)}, "",
			0},
		"full": {tape{part("c", 0, "x", 3, 101), part("d", 0, "x", 3, 200)}, "",
			0},
		"another's, with a value": {tape{part("c", 0, "x", 3, 101), part("d", 0, "x", 4, 200)},
			"0x", 1},
		"beside a row of the part": {tape{part("c", 0, "x", 3, 101), part("c", 1, "x", 3, 110),
			part("d", 0, "x", 0, 200)}, "1x", 0},
		"never seen": {tape{part("c", 1, "x", 3, 110), part("d", 0, "x", 0, 200)},
			"1x", 1},
		"again": {tape{part("c", 0, "x", 3, 101), part("d", 0, "x", 0, 200),
			part("d", 0, "x", 0, 200)}, "", 0},
		"again, after another row": {tape{part("c", 0, "x", 3, 101), part("d", 0, "x", 0, 200),
			part("c", 0, "x", 5, 210), part("d", 0, "x", 0, 200)}, "0x", 0},
		"ended before": {tape{part("c", 0, "x", 3, 101), part("d", 0, "x", 0, 200),
			part("d", 0, "x", 0, 250)}, "", 1},
		"the key changes": {tape{part("c", 1, "x", 3, 101), leaves, comes}, "1x 2x", 1},
		"the key with an empty part changes": {tape{part("c", 1, "", 3, 101), leaves, comes}, "2x",
			0},
	} {
		for _, schemas := range []bool{false, true} {
			log := append(tape{}, c.log...)
			for i := range log {
				if schemas {
					log[i].keyFields = fieldsOf("a int32", "b string")
					log[i].fields = fieldsOf("a int32", "b string", "n int32")
				}
			}
			for _, most := range []int{1, 500} {
				var out bytes.Buffer
				counts, err := Replay(context.Background(), log.records(),
					ReplayOptions{Apply: apply.DefaultConfig(), BatchMax: most}, &out)
				if err != nil {
					t.Fatal(err)
				}
				var rows []string
				for id := range members(t, out.Bytes(), "n") {
					rows = append(rows, strings.NewReplacer(`[\"`, "", `\",\"`, "", `\"]`,
						"").Replace(id))
				}
				slices.Sort(rows)
				if got := strings.Join(rows, " "); got != c.living ||
					counts.DeadLettered["key"] != c.letters {
					t.Errorf("%s, schemas %t, batches of %d: %q live, want %q; %+v", name, schemas,
						most,
						got, c.living, counts)
				}
			}
		}
	}
}

// TestDeletesWithPartOfTheKeyBySpec: a spec names one column of the key, which PostgreSQL did not
// send: the row of the empty key is not ended for another row.
func TestDeletesWithPartOfTheKeyBySpec(t *testing.T) {
	t.Parallel()
	specs := t.TempDir()
	spec := "entity: p\ntable: public.p\ncollection: ps\nkey: b\n" +
		"fields: [{column: b, kind: text}, {column: a, kind: int}]\n"
	if err := os.WriteFile(filepath.Join(specs, "p.yaml"), []byte(spec), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		log     tape
		living  int
		letters int
	}{
		"another row's": {tape{part("c", 1, "x", 3, 101), part("c", 2, "", 3, 110),
			part("d", 1, "", 0, 200)},
			2, 1},
		"the row's": {tape{part("c", 1, "x", 3, 101), part("c", 2, "", 3, 110),
			part("d", 2, "", 0, 200)},
			1, 0},
		"beside the id, never seen": {tape{part("d", 0, "x", 0, 200)}, 0, 0},
		"beside the id": {tape{part("c", 0, "x", 3, 101), part("d", 0, "x", 0, 200)}, 0,
			0},
	} {
		printed, counts := replayed(t, c.log.records(), ReplayOptions{Registry: specsIn(t, specs)})
		if got := members(t, printed, "n"); len(got) != c.living ||
			counts.DeadLettered["key"] != c.letters {
			t.Errorf("%s: %v, %+v", name, got, counts)
		}
	}
}

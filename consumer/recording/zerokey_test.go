package recording

import (
	"fmt"
	"testing"
)

// TestDeletesOfRowZero: a delete whose key is zero may be of the row zero, or of a row whose key
// PostgreSQL did not send. Never another row ends: with schemas the defaults of columns tell, and
// without schemas an event that can be either is a letter.
func TestDeletesOfRowZero(t *testing.T) {
	t.Parallel()
	row := func(id int, status string) string {
		return fmt.Sprintf(`{"id":%d,"status":%q}`, id, status)
	}
	const status = `{"field":"status","type":"string","optional":false,"default":"NEW"}`
	one := func(op string, id int, status string, lsn uint64) taped {
		return taped{table: "job", op: op, lsn: lsn, key: docKey(id), after: row(id, status)}
	}
	end := taped{table: "job", op: "d", lsn: 200, key: docKey(0), before: row(0, "NEW")}
	paid := end // the replica identity is FULL, or an index on status
	paid.before = row(0, "PAID")
	for name, c := range map[string]struct {
		log              tape
		schemas, without string // the living rows and the dead letters
	}{
		"a row beside has the default": {tape{one("c", 0, "NEW", 101), one("u", 0, "PAID", 110),
			one("c", 17, "NEW", 120), end}, "17 0", "0 17 1"},
		"unchanged": {tape{one("c", 0, "NEW", 101), one("c", 17, "NEW", 120), end}, "17 0",
			"17 0"},
		"never seen": {tape{one("c", 17, "PAID", 120), end}, "17 0", "17 1"},
		"again": {tape{one("c", 0, "NEW", 101), one("c", 17, "NEW", 120), end, end}, "17 0",
			"17 0"},
		"full": {tape{one("c", 0, "PAID", 101), one("c", 17, "PAID", 120), paid}, "17 0", "17 0"},
		"another row's, beside row zero": {tape{one("c", 0, "NEW", 101),
			one("c", 17, "PAID", 120), paid}, "0 0", "0 17 1"},
		"another row's":        {tape{one("c", 17, "PAID", 120), paid}, " 0", " 0"},
		"another row's, again": {tape{one("c", 17, "PAID", 120), paid, paid}, " 0", " 0"},
	} {
		for _, schemas := range []bool{false, true} {
			log, want := append(tape{}, c.log...), c.without
			for i := range log {
				if schemas {
					want, log[i].keyFields = c.schemas, fieldOf("id int32")
					log[i].fields = fieldOf("id int32") + "," + status
				}
			}
			printed, counts := replayed(t, log.records(), ReplayOptions{})
			got := ""
			for _, id := range []string{"0", "17"} {
				if _, lives := members(t, printed, "status")[id]; lives {
					got += id + " "
				}
			}
			if got == "" {
				got = " "
			}
			if got += fmt.Sprint(counts.DeadLettered["key"]); got != want {
				t.Errorf("%s, schemas %t: %q, want %q; %+v\n%s", name, schemas, got, want, counts,
					printed)
			}
		}
	}
}

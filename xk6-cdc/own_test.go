package cdc

import (
	"testing"
	"time"
)

// TestOwnWriteErrors: a script's own write that cannot be is refused with the member's name.
func TestOwnWriteErrors(t *testing.T) {
	t.Parallel()
	s := newScript(t, New(), nil)
	s.run(`const lab = cdc.open()`)
	s.throws(t, map[string]string{
		`lab.startOwn(100)`: `lab.startOwn() belongs in setup()`,
		`lab.newRow()`:      `lab.newRow() cannot be called while the script is loaded`,
		`lab.wrote({})`:     `lab.wrote() belongs in an iteration`,
	})
	s.enter("load", time.Now(), 0)
	wrote := func(rest string) string {
		return `lab.wrote({entity: "order", op: "insert", ` + rest + `})`
	}
	s.throws(t, map[string]string{
		`lab.startOwn()`:       `want the time between two looks`,
		`lab.startOwn("soon")`: `want the time between two looks`,
		`lab.startOwn(0)`:      `want the time between two looks`,
		`lab.wrote()`:          `lab.wrote(): no entity ""`,
		`lab.wrote({entity: "order", op: "drop"})`: `lab.wrote(): no operation "drop"`,
		wrote(`started: 1`):                        `want the id and the version of newRow()`,
		wrote(`id: "x", version: 1, started: "1"`): `started: want a number, got 1`,
		wrote(`id: "x", version: 1, started: 5, committed: 4`): `want 0 < started <= committed ` +
			`<= seen, got 5, 4, 0`,
		wrote(`id: "x", version: 1, started: 5`): `call startOwn() in setup()`,
	})
}

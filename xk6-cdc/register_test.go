package cdc

import (
	"testing"

	"go.k6.io/k6/ext"
)

// TestRegister: a k6 with no import but this package has each module imported by the scenarios.
func TestRegister(t *testing.T) {
	t.Parallel()
	registered := ext.Get(ext.JSExtension)
	for _, name := range []string{ImportPath, "k6/x/sql", "k6/x/sql/driver/pgx"} {
		if registered[name] == nil {
			t.Errorf("no script can import %s", name)
		}
	}
}

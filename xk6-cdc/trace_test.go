package cdc

import (
	"regexp"
	"testing"
)

// TestTraceparent: the trace context has W3C's form, and is of one version of one row.
func TestTraceparent(t *testing.T) {
	t.Parallel()
	one := traceparent("4c6f7574-0000-4000-8000-000000000001", 7)
	if !regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-01$`).MatchString(one) {
		t.Error(one)
	}
	if again := traceparent("4c6f7574-0000-4000-8000-000000000001", 7); again != one {
		t.Errorf("the same write has %s and %s", one, again)
	}
	for key, id := range map[string]int64{"4c6f7574-0000-4000-8000-000000000001": 8,
		"4c6f7574-0000-4000-8000-000000000002": 7} {
		if other := traceparent(key, id); other == one {
			t.Errorf("version %d of %s has the trace of another", id, key)
		}
	}
}

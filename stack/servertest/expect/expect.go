// Package expect says what a test of servers waits for, and for how long. The package knows no
// server, so that every package under stack may use expect in tests. Start reading at Soon.
package expect

import (
	"context"
	"strings"
	"testing"
	"time"
)

// Patience bounds each wait; a test after all of Patience has failed.
const Patience = 60 * time.Second

// pollEvery is the time between two looks at a condition.
const pollEvery = 15 * time.Millisecond

// Context ends after Patience, or with the test.
func Context(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	t.Cleanup(cancel)
	return ctx
}

// Soon returns when holds is nil. After Patience the test ends with the last error.
func Soon(t testing.TB, what string, holds func() error) {
	t.Helper()
	Before(Context(t), t, what, holds)
}

// True is Soon of a condition without a reason.
func True(t testing.TB, what string, holds func() bool) {
	t.Helper()
	ctx := Context(t)
	for tick := time.Tick(pollEvery); !holds(); {
		select {
		case <-ctx.Done():
			t.Fatalf("still not so: %s", what)
		case <-tick:
		}
	}
}

// Before is Soon with the end of ctx instead of Patience.
func Before(ctx context.Context, t testing.TB, what string, holds func() error) {
	t.Helper()
	began := time.Now()
	for tick := time.Tick(pollEvery); ; {
		err := holds()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waited %v until %s: %v", time.Since(began), what, err)
		case <-tick:
		}
	}
}

// Error wants an error with all the words.
func Error(t testing.TB, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", words)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the error does not say %q: %v", word, err)
		}
	}
}

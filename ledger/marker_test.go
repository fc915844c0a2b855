package ledger

import (
	"regexp"
	"testing"

	"pgregory.net/rapid"
)

var version4 = regexp.MustCompile(
	`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// Every key is between the bounds of its own Marker and of no other.
func TestKeysCarryTheirMarker(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		marker := rapid.Uint64Range(1, 1<<markerBits-1)
		m, other := Marker(marker.Draw(t, "marker")), Marker(marker.Draw(t, "other"))
		high, low := rapid.Uint64().Draw(t, "high"), rapid.Uint64().Draw(t, "low")
		key := m.Key(high, low)
		if !version4.MatchString(key) || !version4.MatchString(Marker(0).Key(high, low)) {
			t.Fatalf("%s and %s", key, Marker(0).Key(high, low))
		}
		if first, last := m.Bounds(); key < first || key > last {
			t.Fatalf("%s is not between %s and %s", key, first, last)
		}
		if first, last := other.Bounds(); m != other && key >= first && key <= last {
			t.Fatalf("%s of %s is between %s and %s", key, m, first, last)
		}
		if got, err := ParseMarker(m.String()); got != m || err != nil {
			t.Fatalf("%s: %s, %v", m, got, err)
		}
	})
}

// Two runs differ, and a text that is no Marker is refused.
func TestMarkers(t *testing.T) {
	t.Parallel()
	if a, b := NewMarker(), NewMarker(); a == b || a == 0 {
		t.Errorf("%s and %s", a, b)
	}
	for _, text := range []string{"", "0", "000000000000", "1", "00000000000g", "-00000000001",
		"0000000000001", "00000000000A"} {
		if got, err := ParseMarker(text); err == nil {
			t.Errorf("%q is %s", text, got)
		}
	}
}

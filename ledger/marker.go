package ledger

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"strconv"
)

// markerBits is the length of a Marker.
const markerBits = 48

// MarkerVariable tells the generator the Marker of the run.
const MarkerVariable = "CDC_RUN"

// Marker begins the keys of all rows and documents of one run, so that the lab deletes rows of the
// run and no others, whatever the ledger says. 0 is no Marker: keys are random from the first bit
// on.
type Marker uint64

// NewMarker returns a Marker that no other run has.
func NewMarker() Marker {
	var random [8]byte
	rand.Read(random[:])
	return Marker(binary.BigEndian.Uint64(random[:])>>(64-markerBits) | 1)
}

// ParseMarker reads the text of String; the error names the variable.
func ParseMarker(text string) (Marker, error) {
	value, err := strconv.ParseUint(text, 16, markerBits)
	if err != nil || Marker(value).String() != text {
		return 0, fmt.Errorf("%s=%q: want 12 hexadecimal digits, not all 0", MarkerVariable, text)
	}
	return Marker(value), nil
}

// String is the Marker as 12 hexadecimal digits, "" for no Marker.
func (m Marker) String() string {
	if m == 0 {
		return ""
	}
	return fmt.Sprintf("%012x", uint64(m))
}

// Key makes a UUID of version 4 as text: of two random numbers, where the Marker takes the place of
// the first 48 bits.
func (m Marker) Key(high, low uint64) string {
	if m != 0 {
		high = high&(1<<(64-markerBits)-1) | uint64(m)<<(64-markerBits)
	}
	high = high&^0xf000 | 0x4000
	low = low&^(0xc<<60) | 0x8<<60
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x",
		high>>32, high>>16&0xffff, high&0xffff, low>>48, low&(1<<48-1))
}

// Bounds are the first and the last UUID with the Marker, as text. UUIDs and their texts have the
// same order.
func (m Marker) Bounds() (first, last string) {
	begin := fmt.Sprintf("%08x-%04x-", uint64(m)>>16, uint64(m)&0xffff)
	return begin + "0000-0000-000000000000", begin + "ffff-ffff-ffffffffffff"
}

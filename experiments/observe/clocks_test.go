package observe

import (
	"errors"
	"testing"
	"time"
)

func TestClockOffset(t *testing.T) {
	const ahead = 250 * time.Millisecond
	offset, uncertainty, err := clockOffset(func() (time.Time, error) {
		return time.Now().Add(ahead), nil
	})
	if err != nil || (offset-ahead).Abs() > uncertainty+time.Microsecond ||
		uncertainty > 50*time.Millisecond {
		t.Errorf("%v +- %v, %v; want %v", offset, uncertainty, err, ahead)
	}
	gone := errors.New("gone")
	if _, _, err := clockOffset(func() (time.Time, error) {
		return time.Time{}, gone
	}); !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
}

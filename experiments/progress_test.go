package experiments

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestProgressThinsOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		p := progressTo(&log)
		for range 25 {
			for _, piece := range []string{"\n/‾‾/ \nrunn", "ing (1s), 3 complete\nload [ 5% ]\n"} {
				if _, err := p.Write([]byte(piece)); err != nil {
					t.Fatal(err)
				}
			}
			<-time.After(time.Second)
		}
		want := strings.Repeat("load: running (1s), 3 complete\n", 3)
		if diff := cmp.Diff(want, log.String()); diff != "" {
			t.Error(diff)
		}
	})
}

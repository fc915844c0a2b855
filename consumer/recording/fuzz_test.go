package recording

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/consumertest"
)

// FuzzReadRecording: records once read can be written, and read again as the same.
func FuzzReadRecording(f *testing.F) {
	for _, seed := range []string{
		`{"topic":"t","partition":1,"offset":2,"timestamp":3,"key":null,"value":"",` +
			`"headers":[{"k":"h","v":null}]}`,
		`{"topic":"t"}` + "\n\n" + `{"topic":"u","headers":null,"case":"x"}`, "\x1f\x8b", "{", "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var first, second []consumertest.Original
		var written bytes.Buffer
		err := Read(bytes.NewReader(text), func(r *kgo.Record) error {
			first = append(first, consumertest.OriginalOf(r))
			return Write(&written, r)
		})
		if err != nil {
			if !strings.HasPrefix(err.Error(), "line ") &&
				!strings.HasPrefix(err.Error(), "unpack the recording") {
				t.Errorf("%v does not say where", err)
			}
			return
		}
		if err := Read(&written, func(r *kgo.Record) error {
			second = append(second, consumertest.OriginalOf(r))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, second); diff != "" {
			t.Error(diff)
		}
	})
}

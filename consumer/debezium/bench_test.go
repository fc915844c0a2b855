package debezium

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/cdclab/cdclab/consumer/debezium/corpus"
)

// changes are the records accepted by a Decoder in the first corpus, for configurations with the
// prefix.
func changes(b *testing.B, prefix string) (all []corpus.Record, size int64) {
	for _, c := range corpus.Own(b) {
		if c.Folder != corpus.Postgres15 || !strings.HasPrefix(c.Config, prefix) ||
			c.Case == "toast_default" {
			continue
		}
		for _, r := range c.Records(b) {
			if rejection(c, r) == "" && len(r.Value) > 0 {
				all = append(all, r)
				size += int64(len(r.Key) + len(r.Value))
			}
		}
	}
	return all, size / int64(len(all))
}

// BenchmarkDecode compares Decoders, each of a topic as in the consumer, with encoding/json into
// maps, over the corpus.
func BenchmarkDecode(b *testing.B) {
	for _, schemas := range []string{"off", "on"} {
		records, size := changes(b, "schemas-"+schemas)
		headers := make([][]Header, len(records))
		byTopic, decoders := map[string]*Decoder{}, make([]*Decoder, len(records))
		for i, r := range records {
			headers[i] = headersOf(r)
			if byTopic[r.Topic] == nil {
				byTopic[r.Topic] = new(Decoder)
			}
			decoders[i] = byTopic[r.Topic]
		}
		each := func(name string, decode func(i int, r *corpus.Record) error) {
			b.Run(schemas+"/"+name, func(b *testing.B) {
				b.SetBytes(size)
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					if err := decode(i, &records[i]); err != nil {
						b.Fatal(err)
					}
					if i++; i == len(records) {
						i = 0
					}
				}
			})
		}
		each("maps", func(_ int, r *corpus.Record) error {
			var err error
			for _, text := range [][]byte{r.Key, r.Value} {
				d := json.NewDecoder(bytes.NewReader(text))
				d.UseNumber()
				var all map[string]any
				if len(text) > 0 && err == nil {
					err = d.Decode(&all)
				}
			}
			return err
		})
		each("decoder", func(i int, r *corpus.Record) error {
			_, err := decoders[i].Decode(r.Key, r.Value, headers[i])
			return err
		})
	}
}

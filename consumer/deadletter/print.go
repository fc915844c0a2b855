package deadletter

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const letterTime = "2006-01-02 15:04:05.000"

// plain quotes a text with an effect on a terminal, because texts come from outside.
func plain(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) ||
		!utf8.ValidString(text) {
		return strconv.Quote(text)
	}
	return text
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return plain(text)
}

// firstReason returns the reason without the rule, because the rule stands beside the reason.
func (l *Letter) firstReason() string {
	return plain(strings.TrimPrefix(l.Reasons[0], l.Rule+": "))
}

// String says how many letters there are of each state.
func (c *Counts) String() string {
	text := fmt.Sprintf("%d pending, %d replayed, %d dropped", c.Pending, c.Replayed, c.Dropped)
	if c.Again > 0 {
		text += fmt.Sprintf("; %d more repeat one of them", c.Again)
	}
	if c.Foreign > 0 {
		text += fmt.Sprintf("; %d records of the topic are no letters", c.Foreign)
	}
	return text
}

// Brief is a letter in a few words, each safe for a terminal: id, rule, and where the record was.
func (l *Letter) Brief() string {
	r := l.Record
	return fmt.Sprintf("%s  %s  %s/%d/%d", l.ID, plain(l.Rule), plain(r.Topic), r.Partition,
		r.Offset)
}

// WriteLine writes a letter as a line for a terminal, with the first reason.
func (l *Letter) WriteLine(w io.Writer) error {
	r := l.Record
	_, err := fmt.Fprintf(w, "%s  %s  %-8s  %s  %s  %s  %s/%d/%d  %s\n", l.ID,
		l.Time.Format(letterTime), l.state(),
		plain(l.Rule), orDash(l.Entity), orDash(l.Operation), plain(r.Topic), r.Partition, r.Offset,
		l.firstReason())
	return err
}

func (l *Letter) state() string {
	if l.Done == "" {
		return "pending"
	}
	return l.Done
}

// WriteText writes everything there is of a letter, for a terminal.
func (l *Letter) WriteText(w io.Writer) error {
	var text bytes.Buffer
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&text, "  %-10s %s\n", name, fmt.Sprintf(format, args...))
	}
	r := l.Record
	fmt.Fprintf(&text, "letter %s\n", l.ID)
	line("state", "%s", l.state())
	line("written", "%s UTC by the consumer %s of the group %s", l.Time.Format(letterTime),
		orDash(l.Consumer), orDash(l.Group))
	line("rule", "%s", plain(l.Rule))
	for _, reason := range l.Reasons {
		line("reason", "%s", plain(reason))
	}
	line("event", "%s of %s", orDash(l.Operation), orDash(l.Entity))
	line("record", "%s, partition %d, offset %d, %s UTC", plain(r.Topic), r.Partition, r.Offset,
		r.Timestamp.Format(letterTime))
	if l.Table != "" || l.Position != "" {
		line("source", "%s, position %s, transaction %d, committed %s UTC", orDash(l.Table),
			orDash(l.Position), l.TxID,
			l.Committed.Format("2006-01-02 15:04:05.000000"))
	}
	attempts := strconv.Itoa(l.Attempts)
	if l.ReplayOf != "" {
		attempts += ", the last as a replay of letter " + plain(l.ReplayOf)
	}
	line("attempts", "%s", attempts)
	if l.Again != nil {
		line("again", "%s, of the same record", strings.Join(l.Again, ", "))
	}
	fmt.Fprintf(&text, "  headers    %d\n", len(r.Headers))
	for _, h := range r.Headers {
		fmt.Fprintf(&text, "    %s: %s\n", plain(h.Key), shortBytes(h.Value))
	}
	writeBytes(&text, "key", r.Key)
	writeBytes(&text, "value", r.Value)
	text.WriteByte('\n')
	_, err := w.Write(text.Bytes())
	return err
}

func shortBytes(b []byte) string {
	switch {
	case b == nil:
		return "null"
	case utf8.Valid(b):
		return plain(string(b))
	}
	return "base64 " + base64.StdEncoding.EncodeToString(b)
}

// writeBytes prints JSON with indents, and all else as base64.
func writeBytes(text *bytes.Buffer, name string, b []byte) {
	if b == nil {
		fmt.Fprintf(text, "%s: null\n", name)
		return
	}
	var indented bytes.Buffer
	if utf8.Valid(b) && json.Indent(&indented, b, "", "  ") == nil &&
		!bytes.ContainsFunc(indented.Bytes(), func(r rune) bool {
			return r != '\n' &&
				!unicode.IsPrint(r)
		}) {
		fmt.Fprintf(text, "%s, %d bytes of JSON:\n%s\n", name, len(b), indented.Bytes())
		return
	}
	fmt.Fprintf(text, "%s, %d bytes in base64:\n%s\n", name, len(b),
		base64.StdEncoding.EncodeToString(b))
}

// WriteJSON writes a letter as one line for other programs. whole is true if key, value and headers
// of the record are wanted as well, with bytes in base64.
func (l *Letter) WriteJSON(w io.Writer, whole bool) error {
	type header struct {
		K string `json:"k"`
		V []byte `json:"v"`
	}
	type record struct {
		Topic     string   `json:"topic"`
		Partition int32    `json:"partition"`
		Offset    int64    `json:"offset"`
		Timestamp int64    `json:"timestamp"`
		Key       *[]byte  `json:"key,omitempty"`
		Value     *[]byte  `json:"value,omitempty"`
		Headers   []header `json:"headers,omitempty"`
	}
	type source struct {
		Table     string    `json:"table,omitempty"`
		Position  string    `json:"position,omitempty"`
		TxID      uint32    `json:"txId,omitempty"`
		Committed time.Time `json:"committed,omitzero"`
	}
	r := l.Record
	rec := record{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset,
		Timestamp: r.Timestamp.UnixMilli()}
	if whole {
		rec.Key, rec.Value = &r.Key, &r.Value
		for _, h := range r.Headers {
			rec.Headers = append(rec.Headers, header{h.Key, h.Value})
		}
	}
	line, err := json.Marshal(struct {
		ID        string    `json:"id"`
		Time      time.Time `json:"time"`
		State     string    `json:"state"`
		Rule      string    `json:"rule"`
		Reasons   []string  `json:"reasons"`
		Entity    string    `json:"entity,omitempty"`
		Operation string    `json:"operation,omitempty"`
		Attempts  int       `json:"attempts"`
		ReplayOf  string    `json:"replayOf,omitempty"`
		Again     []string  `json:"again,omitempty"`
		Consumer  string    `json:"consumer,omitempty"`
		Group     string    `json:"group,omitempty"`
		Source    source    `json:"source,omitzero"`
		Record    record    `json:"record"`
	}{l.ID, l.Time, l.state(), l.Rule, l.Reasons, l.Entity, l.Operation, l.Attempts, l.ReplayOf,
		l.Again, l.Consumer,
		l.Group, source{l.Table, l.Position, l.TxID, l.Committed}, rec})
	if err != nil {
		return err
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

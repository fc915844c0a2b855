package debezium

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// FormatError says why a record is not a change event. Field is the place in the record ("key",
// "value", "source.lsn", "header cdc.commit_lsn"); Reason is for a person.
type FormatError struct{ Field, Reason string }

func (e *FormatError) Error() string { return e.Field + ": " + e.Reason }

func formatErrorf(field, format string, args ...any) error {
	return &FormatError{field, fmt.Sprintf(format, args...)}
}

// Decode reads one record, written by JsonConverter with schemas on or off. An empty value is a
// Tombstone. With schemas on, precise decimals become decimal texts (as with
// decimal.handling.mode=string); without, they stay as they came.
//
// Every error is a *FormatError: bad JSON (with the byte offset), another kind of message
// (heartbeat, transaction metadata, a flattened row), or a member that cannot be. The Event that
// comes with an error holds what could be read.
func Decode(key, value []byte, headers []Header) (Event, error) {
	var event Event
	var err error
	if event.Key, err = decodeKey(key); err != nil {
		return event, err
	}
	if event.CommitLSN, err = commitLSN(headers); err != nil {
		return event, err
	}
	if len(value) == 0 {
		event.Tombstone = true
		return event, nil
	}
	return event, event.decodeValue(value)
}

func commitLSN(headers []Header) (lsn uint64, err error) {
	for _, h := range headers {
		if h.Key != HeaderCommitLSN {
			continue
		}
		if lsn, err = strconv.ParseUint(string(h.Value), 10, 64); err != nil {
			return 0, formatErrorf("header "+HeaderCommitLSN, "%q is no decimal LSN", h.Value)
		}
	}
	return lsn, nil
}

// decodeKey reads the key; a null key is a nil Row.
func decodeKey(key []byte) (Row, error) {
	if len(key) == 0 {
		return nil, nil
	}
	var row Row
	if err := unmarshal("key", key, &row); err != nil {
		return nil, err
	}
	schema, hasSchema := row["schema"]
	payload, hasPayload := row["payload"]
	if len(row) != 2 || !hasSchema || !hasPayload || !isSchema(schema) {
		return row, nil
	}
	if payload == nil {
		return nil, nil
	}
	columns, isRow := payload.(map[string]any)
	if !isRow {
		return nil, formatErrorf("key", "is no row of columns: %v", payload)
	}
	if !mayHoldDecimals(key) {
		return columns, nil
	}
	var wrapped struct {
		Schema connectSchema `json:"schema"`
	}
	if err := unmarshal("key", key, &wrapped); err != nil {
		return nil, err
	}
	return columns, wrapped.Schema.decimalsToText("key", columns)
}

// isSchema tells a schema block from a primary-key column that is called schema: no column's value
// is such an object, and none is null.
func isSchema(v any) bool {
	block, isObject := v.(map[string]any)
	_, typed := block["type"].(string)
	return v == nil || isObject && typed
}

// envelope is the value: Debezium's Envelope.java.
type envelope struct {
	Before Row         `json:"before"`
	After  Row         `json:"after"`
	Source *wireSource `json:"source"`
	Op     *Op         `json:"op"`
	TsMs   *int64      `json:"ts_ms"`
	TsUs   *int64      `json:"ts_us"`
}

// wireSource is the source block: Debezium's PostgresSourceInfoStructMaker.java.
type wireSource struct {
	Version   string  `json:"version"`
	Connector string  `json:"connector"`
	Name      string  `json:"name"`
	TsMs      *int64  `json:"ts_ms"`
	Snapshot  any     `json:"snapshot"`
	DB        string  `json:"db"`
	Sequence  *string `json:"sequence"`
	TsUs      *int64  `json:"ts_us"`
	Schema    string  `json:"schema"`
	Table     string  `json:"table"`
	TxID      *int64  `json:"txId"`
	LSN       *int64  `json:"lsn"`
}

func (event *Event) decodeValue(value []byte) error {
	var wire struct {
		Schema  json.RawMessage `json:"schema"`
		Payload *envelope       `json:"payload"`
		envelope
	}
	err := unmarshal("value", value, &wire)
	e := &wire.envelope
	if e.Op == nil && e.Source == nil && wire.Payload != nil {
		e = wire.Payload
	}
	event.Before, event.After = e.Before, e.After
	if e.Op == nil || e.Source == nil {
		if err != nil && (!utf8.Valid(value) || !json.Valid(value)) {
			return err
		}
		return otherMessage(value)
	}
	event.Op = *e.Op
	if sourceErr := event.Source.fill(e.Source); err == nil {
		err = sourceErr
	}
	if err != nil {
		return err
	}
	if event.TsUs, err = micros("ts_us", e.TsUs, e.TsMs); err != nil {
		return err
	}
	if err := event.check(); err != nil {
		return err
	}
	if e == wire.Payload && mayHoldDecimals(wire.Schema) {
		return event.decimalsToText(wire.Schema)
	}
	return nil
}

// check refuses what no envelope of Debezium's can be.
func (event *Event) check() error {
	switch event.Op {
	case Create, Update, Read:
		if event.After == nil {
			return formatErrorf("after", "is null where op is %q", event.Op)
		}
	case Delete, Truncate:
	case Message:
		return nil
	default:
		return formatErrorf("op", "%q is unknown", event.Op)
	}
	if event.Source.Schema == "" || event.Source.Table == "" {
		return formatErrorf("source.table", "schema %q and table %q do not name a table",
			event.Source.Schema, event.Source.Table)
	}
	return nil
}

func (s *Source) fill(w *wireSource) (err error) {
	s.Version, s.Connector, s.Name, s.DB = w.Version, w.Connector, w.Name, w.DB
	s.Schema, s.Table = w.Schema, w.Table
	switch snapshot := w.Snapshot.(type) {
	case nil:
	case bool:
		s.Snapshot = strconv.FormatBool(snapshot)
	case string:
		s.Snapshot = snapshot
	default:
		return formatErrorf("source.snapshot", "%v is neither a text nor a boolean", w.Snapshot)
	}
	if w.TxID != nil {
		// A snapshot's txId is txid_current(), which has the epoch above the 32 bits of the xid.
		s.TxID = uint32(*w.TxID)
	}
	if w.LSN != nil {
		if *w.LSN < 0 {
			return formatErrorf("source.lsn", "%d is negative", *w.LSN)
		}
		s.LSN = uint64(*w.LSN)
	}
	if w.Sequence != nil {
		if s.Sequence, err = parseSequence(*w.Sequence); err != nil {
			return err
		}
	}
	s.TsUs, err = micros("source.ts_us", w.TsUs, w.TsMs)
	return err
}

// parseSequence reads `["24023119","24023128"]`, in which each may be null.
func parseSequence(text string) (pair [2]uint64, err error) {
	var members []*string
	if err := json.Unmarshal([]byte(text), &members); err != nil || len(members) != 2 {
		return pair, formatErrorf("source.sequence", "%q is no array of two LSNs", text)
	}
	for i, m := range members {
		if m == nil {
			continue
		}
		if pair[i], err = strconv.ParseUint(*m, 10, 64); err != nil {
			return [2]uint64{}, formatErrorf("source.sequence", "%q is no decimal LSN", *m)
		}
	}
	return pair, nil
}

// micros prefers us: connectors before 2.6 and logical messages have milliseconds only.
func micros(field string, us, ms *int64) (int64, error) {
	switch {
	case us != nil:
		return *us, nil
	case ms == nil:
		return 0, nil
	case *ms > math.MaxInt64/1000 || *ms < math.MinInt64/1000:
		return 0, formatErrorf(field, "%d ms is out of range", *ms)
	}
	return *ms * 1000, nil
}

// flattened begins the reason for records that went through Debezium's transformation.
const flattened = "is a flattened row (ExtractNewRecordState), not Debezium's whole envelope"

// otherMessage says what a legal JSON value without op or source is instead of an envelope.
func otherMessage(value []byte) error {
	var members map[string]json.RawMessage
	if json.Unmarshal(value, &members) != nil || members == nil {
		return formatErrorf("value", "is not an object")
	}
	if payload, wrapped := members["payload"]; wrapped {
		var inner map[string]json.RawMessage
		if json.Unmarshal(payload, &inner) == nil && members["schema"] != nil {
			members = inner
		}
	}
	has := func(name string) bool { _, there := members[name]; return there }
	switch {
	case members == nil:
		return formatErrorf("value", flattened+": its payload is null")
	case has("op") && has("before") || has("op") && has("after"):
		return formatErrorf("source", "is missing: op is there, the source block is not")
	case has("source") && has("before") || has("source") && has("after"):
		return formatErrorf("op", "is missing")
	case has("ts_ms") && len(members) == 1:
		return formatErrorf("value", "is a heartbeat, not a change: leave its topic out")
	case has("status") && has("id") && has("event_count"):
		return formatErrorf("value", "is transaction metadata, not a change: leave its topic out")
	}
	return formatErrorf("value", flattened+": it has neither op nor source")
}

// kindNames are what the members of the envelope are read into.
var kindNames = map[reflect.Kind]string{
	reflect.Map: "an object", reflect.Struct: "an object", reflect.Slice: "an array",
	reflect.String: "a text", reflect.Int64: "a whole number",
}

// unmarshal keeps numbers as texts and refuses what follows the value.
func unmarshal(what string, data []byte, into any) error {
	if !utf8.Valid(data) {
		return formatErrorf(what, "is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	err := d.Decode(into)
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return formatErrorf(what, "is bad JSON at byte %d: %v", syntax.Offset, err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return formatErrorf(what, "is bad JSON at byte %d: it ends there", len(data))
	case errors.As(err, &kind):
		field := strings.TrimPrefix(strings.TrimPrefix(kind.Field, "envelope."), "payload.")
		if field == "" {
			field = what
		}
		return formatErrorf(field, "is a JSON %s, not %s", kind.Value, kindNames[kind.Type.Kind()])
	case err != nil:
		return formatErrorf(what, "cannot be read: %v", err)
	}
	offset := d.InputOffset()
	if rest := bytes.TrimLeft(data[offset:], " \t\r\n"); len(rest) > 0 {
		return formatErrorf(what, "is bad JSON at byte %d: text after the end", len(data)-len(rest)+1)
	}
	return nil
}

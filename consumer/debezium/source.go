package debezium

import "strconv"

// readSource reads the source block of Debezium's PostgresSourceInfoStructMaker.java; there is
// false for null. The texts of last are the guesses, because a record's texts are nearly always
// equal to the texts of the record before.
func (d *Decoder) readSource(last *Source, depth int) (there bool, err error) {
	if d.reader.json.PeekKind() != '{' {
		raw, err := d.reader.readRawValue()
		if err != nil || raw[0] == 'n' {
			return false, err
		}
		d.complain("source", "is a JSON %s, not an object", kindName(raw))
		return true, nil
	}
	if _, err := d.reader.json.ReadToken(); err != nil {
		return false, err
	}
	s := &d.event.Source
	var tsMs, tsUs number
	seen := uint(0)
	for {
		name, err := d.reader.readMemberName()
		if err != nil {
			return true, err
		}
		if name == nil {
			break
		}
		bit := uint(0)
		switch string(name) {
		case `"version"`:
			bit = 1 << 0
			_, s.Version, err = d.readTextMember("source.version", last.Version)
		case `"connector"`:
			bit = 1 << 1
			_, s.Connector, err = d.readTextMember("source.connector", last.Connector)
		case `"name"`:
			bit = 1 << 2
			_, s.Name, err = d.readTextMember("source.name", last.Name)
		case `"ts_ms"`:
			bit = 1 << 3
			tsMs, err = d.readNumberMember("source.ts_ms")
		case `"ts_us"`:
			bit = 1 << 4
			tsUs, err = d.readNumberMember("source.ts_us")
		case `"snapshot"`, `"sequence"`, `"txId"`, `"lsn"`:
			bit, err = d.readLogPlace(string(name))
		case `"db"`:
			bit = 1 << 5
			_, s.DB, err = d.readTextMember("source.db", last.DB)
		case `"schema"`:
			bit = 1 << 6
			_, s.Schema, err = d.readTextMember("source.schema", last.Schema)
		case `"table"`:
			bit = 1 << 7
			_, s.Table, err = d.readTextMember("source.table", last.Table)
		default:
			err = d.skipMember(depth + 1)
		}
		if err != nil {
			return true, err
		}
		if seen&bit != 0 {
			d.complain("source."+string(name[1:len(name)-1]), "is there twice")
		}
		seen |= bit
	}
	s.TsUs = d.preferMicros("source.ts_us", tsUs, tsMs)
	return true, nil
}

// readLogPlace reads the members about the change's place in the log.
func (d *Decoder) readLogPlace(name string) (bit uint, err error) {
	s := &d.event.Source
	var n number
	switch name {
	case `"txId"`:
		n, err = d.readNumberMember("source.txId")
		// A snapshot's txId is txid_current(), with the epoch above the 32 bits of the xid.
		s.TxID = uint32(n.n)
		return 1 << 8, err
	case `"lsn"`:
		if n, err = d.readNumberMember("source.lsn"); n.n < 0 {
			d.complain("source.lsn", "%d is negative", n.n)
			n.n = 0
		}
		s.LSN = uint64(n.n)
		return 1 << 9, err
	}
	raw, err := d.reader.readRawValue()
	if err != nil {
		return 0, err
	}
	if name == `"snapshot"` {
		switch v := (Value{raw, nil}); v.Kind() {
		case Null:
		case Bool:
			s.Snapshot = strconv.FormatBool(v.Bool())
		case String:
			s.Snapshot = d.unquoteText(raw, "")
		default:
			d.complain("source.snapshot", "a JSON %s is neither a text nor a boolean",
				kindName(raw))
		}
		return 1 << 10, nil
	}
	switch raw[0] {
	case 'n':
	case '"':
		pair, ok := parseSequence(raw)
		if s.Sequence = pair; !ok {
			d.badSequence = formatErrorf("source.sequence",
				"%.60s is no array of two decimal LSNs", raw)
		}
	default:
		d.badSequence = formatErrorf("source.sequence", "is a JSON %s, not a text", kindName(raw))
	}
	return 1 << 11, nil
}

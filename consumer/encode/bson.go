package encode

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"math"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/encode/value"
	"github.com/cdclab/cdclab/consumer/entity"
)

// writer appends values as BSON elements.
type writer struct {
	reader
	text []byte // of a scalar stored as text
	fine bool   // a timestamp was written, and needs an exact text too
	budget
}

// maxNesting is below the 100 levels that MongoDB takes. Deeper values are stored as JSON.
const maxNesting = 80

// indexes are the names of an array's first items.
var indexes = func() (names [128]string) {
	for i := range names {
		names[i] = strconv.Itoa(i)
	}
	return names
}()

func nameOfIndex(i int) string {
	if i < len(indexes) {
		return indexes[i]
	}
	return strconv.Itoa(i)
}

// appendHead appends the type and name of an element. The name has no NUL.
func appendHead(dst []byte, t bsoncore.Type, name string) []byte {
	return append(append(append(dst, byte(t)), name...), 0)
}

func appendNull(dst []byte, name string) []byte { return appendHead(dst, bsoncore.TypeNull, name) }

func appendString(dst []byte, name string, text []byte) []byte {
	dst = appendHead(dst, bsoncore.TypeString, name)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(text)+1))
	return append(append(dst, text...), 0)
}

func appendInt(dst []byte, name string, n int64) []byte {
	return binary.LittleEndian.AppendUint64(appendHead(dst, bsoncore.TypeInt64, name), uint64(n))
}

func appendDate(dst []byte, name string, millis int64) []byte {
	dst = appendHead(dst, bsoncore.TypeDateTime, name)
	return binary.LittleEndian.AppendUint64(dst, uint64(millis))
}

func appendDecimal(dst []byte, name string, d value.Decimal) []byte {
	dst = binary.LittleEndian.AppendUint64(appendHead(dst, bsoncore.TypeDecimal128, name), d.Low)
	return binary.LittleEndian.AppendUint64(dst, d.High)
}

func appendDouble(dst []byte, name string, f float64) []byte {
	dst = appendHead(dst, bsoncore.TypeDouble, name)
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(f))
}

func appendBool(dst []byte, name string, b bool) []byte {
	return bsoncore.AppendBoolean(appendHead(dst, bsoncore.TypeBoolean, name), b)
}

func appendBinary(dst []byte, name string, raw []byte) []byte {
	return bsoncore.AppendBinary(appendHead(dst, bsoncore.TypeBinary, name), 0, raw)
}

// writeScalar appends a scalar as the kind stores it; false where the kind would lose something.
func (w *writer) writeScalar(dst []byte, name string, k entity.Kind, s *scalar) ([]byte, bool) {
	switch k {
	case entity.Any:
		return w.writeByOwnType(dst, name, s), true
	case entity.Text, entity.JSON:
		return appendString(dst, name, w.textOf(s)), s.is < isArray
	case entity.UUID:
		return appendString(dst, name, s.text), s.is == isText && s.uuid
	case entity.Bool:
		return appendBool(dst, name, s.n == 1), s.is == isBool
	case entity.Int:
		n, ok := s.intWithoutLoss()
		return appendInt(dst, name, n), ok
	case entity.Decimal:
		return w.decimalElement(dst, name, s)
	case entity.Double:
		f, ok := s.doubleWithoutLoss()
		return appendDouble(dst, name, f), ok
	case entity.Timestamp, entity.Date:
		return w.timeElement(dst, name, k, s)
	case entity.Bytes:
		return appendBinary(dst, name, s.text), s.is == isBytes
	case entity.Bits:
		return appendString(dst, name, s.text), s.is == isText && len(bytes.Trim(s.text, "01")) == 0
	case entity.Time:
		return appendString(dst, name, s.text), s.is == isTimeOfDay
	case entity.Interval:
		return appendString(dst, name, s.text), s.is == isDuration
	}
	return dst, false
}

// writeByOwnType appends a scalar by its own type.
func (w *writer) writeByOwnType(dst []byte, name string, s *scalar) []byte {
	switch s.is {
	case isBool:
		return appendBool(dst, name, s.n == 1)
	case isInt64:
		return appendInt(dst, name, s.n)
	case isDecimal:
		return appendDecimal(dst, name, s.decimal)
	case isDouble:
		return appendDouble(dst, name, s.f)
	case isInstant:
		w.fine = w.fine || s.at.Fine()
		return appendDate(dst, name, s.at.Millis())
	case isDay:
		return appendDate(dst, name, s.n*value.SecondsOfDay*1000)
	case isBytes:
		return appendBinary(dst, name, s.text)
	case isNothing:
		return appendNull(dst, name)
	}
	return appendString(dst, name, s.text)
}

func (w *writer) decimalElement(dst []byte, name string, s *scalar) ([]byte, bool) {
	switch s.is {
	case isDecimal:
	case isLong:
		return appendString(dst, name, s.text), true
	case isInt64, isDouble, isText:
		if !w.readDecimal(w.textOf(s), s) {
			return dst, false
		}
		return w.decimalElement(dst, name, s)
	default:
		return dst, false
	}
	return appendDecimal(dst, name, s.decimal), true
}

func (w *writer) timeElement(dst []byte, name string, k entity.Kind, s *scalar) ([]byte, bool) {
	if s.is == isText {
		at, dated, far := value.ParseZoned(s.text)
		if s.is, s.at = isInstant, at; far {
			s.is = isFarTime
		}
		if !dated && !far {
			return dst, false
		}
	}
	switch s.is {
	case isInstant:
		if k == entity.Date && !s.at.Midnight() {
			return dst, false
		}
	case isDay, isFarTime:
	default:
		return dst, false
	}
	return w.writeByOwnType(dst, name, s), true
}

func (s *scalar) intWithoutLoss() (int64, bool) {
	switch s.is {
	case isInt64:
		return s.n, true
	case isText:
		return value.ParseInt(s.text)
	case isDouble:
		n := int64(s.f)
		return n, math.Abs(s.f) < 1<<53 && float64(n) == s.f
	case isDecimal:
		return s.decimal.Int()
	}
	return 0, false
}

func (s *scalar) doubleWithoutLoss() (float64, bool) {
	switch s.is {
	case isDouble:
		return s.f, true
	case isInt64:
		return float64(s.n), s.n < 1<<53 && s.n > -1<<53
	case isText:
		if s.readSpecial(s.text) {
			return s.f, true
		}
		f, err := strconv.ParseFloat(string(s.text), 64)
		return f, err == nil && value.SameNumber(s.text, f)
	case isDecimal:
		return s.decimal.Double()
	}
	return 0, false
}

// textOf returns the text of a scalar: of a number the digits, of a time ISO 8601, of bytes the
// base64. The text is valid until the next textOf.
func (w *writer) textOf(s *scalar) []byte {
	w.text = w.text[:0]
	switch s.is {
	case isBool:
		w.text = strconv.AppendBool(w.text, s.n == 1)
	case isInt64:
		w.text = strconv.AppendInt(w.text, s.n, 10)
	case isDouble:
		if s.v.Kind() == debezium.Number {
			return s.v.Text()
		}
		w.text = value.AppendFloat(w.text, s.f)
	case isDecimal:
		w.text = s.decimal.AppendText(w.text)
	case isInstant:
		w.text = s.at.AppendISO(w.text)
	case isDay:
		w.text = value.AppendDay(w.text, s.n)
	case isBytes:
		w.text = base64.StdEncoding.AppendEncode(w.text, s.text)
	case isArray, isObject:
		w.text = s.v.AppendJSON(w.text)
	default:
		return s.text
	}
	return w.text
}

// items are how the items of an array are read and stored.
type items struct {
	kind entity.Kind
	form form
	t    *debezium.Type
}

// itemsOfType returns the items of an array of the type t, for a Field of items of the kind k, or
// Any.
func itemsOfType(k entity.Kind, t *debezium.Type) items {
	if t != nil {
		t = t.Items
	}
	if k == "" || k == entity.Any {
		return items{entity.Any, formOfType(t), t}
	}
	f, _ := formForField(k, t)
	return items{k, f, t}
}

// appendArray appends an array, or with exact the texts of its timestamps; false where an item does
// not fit.
func (w *writer) appendArray(dst []byte, name string, of items, v debezium.Value, exact bool,
	depth int) ([]byte, bool) {
	start, dst := bsoncore.ReserveLength(appendHead(dst, bsoncore.TypeArray, name))
	i := 0
	for item := range v.Items() {
		var ok bool
		dst, ok = w.appendItem(dst, nameOfIndex(i), of, item, exact, depth+1)
		if !ok || w.isSpent(dst) {
			return dst, false
		}
		i++
	}
	return closeDocument(dst, start), true
}

func (w *writer) appendItem(dst []byte, name string, of items, v debezium.Value, exact bool,
	depth int) ([]byte, bool) {
	if v.Kind() == debezium.Null {
		return appendNull(dst, name), true
	}
	var s scalar
	if !w.readScalar(of.form, of.t, v, &s) && (of.kind != entity.Any || !w.readByJSONType(v, &s)) {
		return dst, false
	}
	switch {
	case s.is == isArray && (of.kind == entity.Any || of.kind == entity.Array):
		if depth >= maxNesting {
			return appendString(dst, name, w.textOf(&s)), true
		}
		return w.appendArray(dst, name, itemsOfType(entity.Any, of.t), v, exact, depth)
	case s.is == isObject && of.kind == entity.Any:
		return w.appendObject(dst, name, v, depth), true
	case exact && s.is == isInstant:
		return appendString(dst, name, w.textOf(&s)), true
	}
	return w.writeScalar(dst, name, of.kind, &s)
}

// appendObject appends an object as a document, or as JSON where two of its names become the same.
func (w *writer) appendObject(dst []byte, name string, v debezium.Value, depth int) []byte {
	from := len(dst)
	start, dst := bsoncore.ReserveLength(appendHead(dst, bsoncore.TypeEmbeddedDocument, name))
	clash := depth >= maxNesting
	var seen map[string]bool
	if !clash {
		for member, value := range v.Members() {
			escaped, _ := entity.EscapeName(string(member))
			if escaped != string(member) {
				if seen == nil {
					seen = namesOf(v)
				}
				clash = seen[escaped]
				seen[escaped] = true
			}
			of := items{kind: entity.Any}
			dst, _ = w.appendItem(dst, escaped, of, value, false, depth+1)
			if clash || w.isSpent(dst) {
				break
			}
		}
	}
	if clash {
		var s scalar
		s.is, s.v = isObject, v
		return appendString(dst[:from], name, w.textOf(&s))
	}
	return closeDocument(dst, start)
}

func namesOf(object debezium.Value) map[string]bool {
	names := map[string]bool{}
	for name := range object.Members() {
		names[string(name)] = true
	}
	return names
}

func closeDocument(dst []byte, start int32) []byte {
	dst = append(dst, 0)
	return bsoncore.UpdateLength(dst, start, int32(len(dst))-start)
}

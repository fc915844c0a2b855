package entity

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"math"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"github.com/cdclab/cdclab/consumer/debezium"
)

// writer appends values as BSON elements. Names are given with their NUL at the end.
type writer struct {
	reader
	text []byte // of a scalar that is stored as one
	fine bool   // a timestamp was written that needs an exact text beside it
}

// maxNesting is below the 100 levels that MongoDB takes; what is deeper is stored as its JSON.
const maxNesting = 80

// indexes are the names of an array's first items.
var indexes = func() (names [128]string) {
	for i := range names {
		names[i] = strconv.Itoa(i) + "\x00"
	}
	return names
}()

func index(i int) string {
	if i < len(indexes) {
		return indexes[i]
	}
	return strconv.Itoa(i) + "\x00"
}

func head(dst []byte, t bsoncore.Type, name string) []byte {
	return append(append(dst, byte(t)), name...)
}

func appendNull(dst []byte, name string) []byte { return head(dst, bsoncore.TypeNull, name) }

func appendString(dst []byte, name string, text []byte) []byte {
	dst = head(dst, bsoncore.TypeString, name)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(text)+1))
	return append(append(dst, text...), 0)
}

func appendInt(dst []byte, name string, n int64) []byte {
	return binary.LittleEndian.AppendUint64(head(dst, bsoncore.TypeInt64, name), uint64(n))
}

func appendDate(dst []byte, name string, millis int64) []byte {
	return binary.LittleEndian.AppendUint64(head(dst, bsoncore.TypeDateTime, name), uint64(millis))
}

func appendDecimal(dst []byte, name string, high, low uint64) []byte {
	dst = binary.LittleEndian.AppendUint64(head(dst, bsoncore.TypeDecimal128, name), low)
	return binary.LittleEndian.AppendUint64(dst, high)
}

func appendDouble(dst []byte, name string, f float64) []byte {
	return binary.LittleEndian.AppendUint64(head(dst, bsoncore.TypeDouble, name), math.Float64bits(f))
}

func appendBool(dst []byte, name string, b bool) []byte {
	return bsoncore.AppendBoolean(head(dst, bsoncore.TypeBoolean, name), b)
}

// write appends a scalar as the kind stores it; false where that cannot be done without loss.
func (w *writer) write(dst []byte, name string, k Kind, s *scalar) ([]byte, bool) {
	switch k {
	case Any:
		return w.natural(dst, name, s), true
	case Text, JSON:
		return appendString(dst, name, w.textOf(s)), s.is < isArray
	case UUID:
		return appendString(dst, name, s.text), s.is == isText && s.uuid
	case Bool:
		return appendBool(dst, name, s.n == 1), s.is == isBool
	case Int:
		n, ok := s.int()
		return appendInt(dst, name, n), ok
	case Decimal:
		return w.decimalElement(dst, name, s)
	case Double:
		f, ok := s.double()
		return appendDouble(dst, name, f), ok
	case Timestamp, Date:
		return w.timeElement(dst, name, k, s)
	case Bytes:
		return bsoncore.AppendBinary(head(dst, bsoncore.TypeBinary, name), 0, s.text), s.is == isBytes
	case Bits:
		return appendString(dst, name, s.text), s.is == isText && len(bytes.Trim(s.text, "01")) == 0
	case Time:
		return appendString(dst, name, s.text), s.is == isTimeOfDay
	case Interval:
		return appendString(dst, name, s.text), s.is == isDuration
	}
	return dst, false
}

// natural appends a scalar as what it is.
func (w *writer) natural(dst []byte, name string, s *scalar) []byte {
	switch s.is {
	case isBool:
		return appendBool(dst, name, s.n == 1)
	case isInt64:
		return appendInt(dst, name, s.n)
	case isDecimal:
		return appendDecimal(dst, name, s.high, s.low)
	case isDouble:
		return appendDouble(dst, name, s.f)
	case isInstant:
		w.fine = w.fine || s.at.fine()
		return appendDate(dst, name, s.at.millis())
	case isDay:
		return appendDate(dst, name, s.n*secondsOfDay*1000)
	case isBytes:
		return bsoncore.AppendBinary(head(dst, bsoncore.TypeBinary, name), 0, s.text)
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
		if !w.decimal(w.textOf(s), s) {
			return dst, false
		}
		return w.decimalElement(dst, name, s)
	default:
		return dst, false
	}
	return appendDecimal(dst, name, s.high, s.low), true
}

func (w *writer) timeElement(dst []byte, name string, k Kind, s *scalar) ([]byte, bool) {
	if s.is == isText {
		at, dated, far := parseZoned(s.text)
		if s.is, s.at = isInstant, at; far {
			s.is = isFarTime
		}
		if !dated && !far {
			return dst, false
		}
	}
	switch s.is {
	case isInstant:
		if whole := s.at.nanos == 0 && s.at.seconds%secondsOfDay == 0; k == Date && !whole {
			return dst, false
		}
	case isDay, isFarTime:
	default:
		return dst, false
	}
	return w.natural(dst, name, s), true
}

func (s *scalar) int() (int64, bool) {
	switch s.is {
	case isInt64:
		return s.n, true
	case isText:
		return parseInt(s.text)
	case isDouble:
		n := int64(s.f)
		return n, math.Abs(s.f) < 1<<53 && float64(n) == s.f
	case isDecimal:
		n, finite := decodeDecimal(s.high, s.low)
		for finite && n.exponent < 0 && n.unshift() {
			n.exponent++
		}
		if finite && n.exponent == 0 {
			return parseInt(n.appendText(nil))
		}
	}
	return 0, false
}

func (s *scalar) double() (float64, bool) {
	switch s.is {
	case isDouble:
		return s.f, true
	case isInt64:
		return float64(s.n), s.n < 1<<53 && s.n > -1<<53
	case isText:
		if special64(s.text, s) {
			return s.f, true
		}
		f, err := strconv.ParseFloat(string(s.text), 64)
		return f, err == nil && sameNumber(s.text, f)
	case isDecimal:
		n, finite := decodeDecimal(s.high, s.low)
		if !finite {
			return 0, false
		}
		text := n.appendText(nil)
		f, err := strconv.ParseFloat(string(text), 64)
		return f, err == nil && sameNumber(text, f)
	}
	return 0, false
}

// textOf is the text of a scalar: of a number its digits, of a time ISO 8601, of bytes their base64.
// It is valid until the next.
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
		w.text = appendFloat(w.text, s.f)
	case isDecimal:
		w.text = appendDecimalText(w.text, s.high, s.low)
	case isInstant:
		w.text = s.at.appendISO(w.text)
	case isDay:
		w.text = appendDay(w.text, s.n)
	case isBytes:
		w.text = base64.StdEncoding.AppendEncode(w.text, s.text)
	case isArray, isObject:
		w.text = s.v.AppendJSON(w.text)
	default:
		return s.text
	}
	return w.text
}

func appendFloat(dst []byte, f float64) []byte {
	switch {
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}

func appendDecimalText(dst []byte, high, low uint64) []byte {
	n, finite := decodeDecimal(high, low)
	switch {
	case finite:
		return n.appendText(dst)
	case high == decimalInfinity:
		return append(dst, "Infinity"...)
	case high == decimalInfinity|decimalSign:
		return append(dst, "-Infinity"...)
	}
	return append(dst, "NaN"...)
}

// items are how the items of an array are read and stored.
type items struct {
	kind Kind
	form form
	t    *debezium.Type
}

// itemsOf are those of an array of the type whose Field names their kind, or Any.
func itemsOf(k Kind, t *debezium.Type) items {
	if t != nil {
		t = t.Items
	}
	if k == "" || k == Any {
		return items{Any, formOf(t), t}
	}
	f, _ := formFor(k, t)
	return items{k, f, t}
}

// array appends an array, or with exact the texts of its timestamps; false where an item does not
// fit.
func (w *writer) array(dst []byte, name string, of items, v debezium.Value, exact bool,
	depth int) ([]byte, bool) {
	start, dst := bsoncore.ReserveLength(head(dst, bsoncore.TypeArray, name))
	for i := range v.Len() {
		var ok bool
		if dst, ok = w.item(dst, index(i), of, v.At(i), exact, depth+1); !ok {
			return dst, false
		}
	}
	return closeDocument(dst, start), true
}

func (w *writer) item(dst []byte, name string, of items, v debezium.Value, exact bool,
	depth int) ([]byte, bool) {
	if v.Kind() == debezium.Null {
		return appendNull(dst, name), true
	}
	var s scalar
	if !w.read(of.form, of.t, v, &s) && (of.kind != Any || !w.plain(v, &s)) {
		return dst, false
	}
	switch {
	case s.is == isArray && (of.kind == Any || of.kind == Array):
		if depth >= maxNesting {
			return appendString(dst, name, w.textOf(&s)), true
		}
		return w.array(dst, name, itemsOf(Any, of.t), v, exact, depth)
	case s.is == isObject && of.kind == Any:
		return w.object(dst, name, v, depth), true
	case exact && s.is == isInstant:
		return appendString(dst, name, w.textOf(&s)), true
	}
	return w.write(dst, name, of.kind, &s)
}

// object appends an object as a document; one in which two names become the same is stored as its
// JSON.
func (w *writer) object(dst []byte, name string, v debezium.Value, depth int) []byte {
	from := len(dst)
	start, dst := bsoncore.ReserveLength(head(dst, bsoncore.TypeEmbeddedDocument, name))
	clash := depth >= maxNesting
	var seen map[string]bool
	if !clash {
		v.Each(func(member []byte, value debezium.Value) {
			escaped, _ := escapeName(string(member))
			if escaped != string(member) && seen == nil {
				seen = map[string]bool{}
				v.Each(func(plain []byte, _ debezium.Value) { seen[string(plain)] = true })
			}
			if escaped != string(member) {
				clash = clash || seen[escaped]
				seen[escaped] = true
			}
			dst, _ = w.item(dst, escaped+"\x00", items{kind: Any}, value, false, depth+1)
		})
	}
	if clash {
		var s scalar
		s.is, s.v = isObject, v
		return appendString(dst[:from], name, w.textOf(&s))
	}
	return closeDocument(dst, start)
}

func closeDocument(dst []byte, start int32) []byte {
	dst = append(dst, 0)
	return bsoncore.UpdateLength(dst, start, int32(len(dst))-start)
}

// escapeName makes a name that MongoDB takes; false where something of it is lost.
func escapeName(name string) (string, bool) {
	whole := true
	if strings.IndexByte(name, 0) >= 0 {
		name, whole = strings.ReplaceAll(name, "\x00", ""), false
	}
	if strings.IndexByte(name, '.') >= 0 {
		name = strings.ReplaceAll(name, ".", "\uff0e")
	}
	if strings.HasPrefix(name, "$") {
		name = "\uff04" + name[1:]
	}
	return name, whole
}

package entity

import "github.com/cdclab/cdclab/consumer/debezium"

// form is how the values of a column are written in a record.
type form uint8

const (
	asPlain    form = iota // by its JSON type
	asString               // a text that is stored as it came
	asUUID                 // text
	asBool                 // true, false
	asInt                  // whole number
	asFloat                // number, or the text of one that JSON has not
	asNumeric              // decimal as text or number
	asDecimal              // base64 of the unscaled number, the scale is the type's
	asVariable             // struct of the scale and such a base64
	asMicros               // timestamps: counts since 1970, as if the time were UTC
	asMillis
	asNanos
	asZoned // ISO text
	asDays  // dates
	asISODate
	asTimeMicros // times of day
	asTimeMillis
	asTimeNanos
	asClock // text
	asMicroDuration
	asNanoDuration
	asISODuration // text
	asBase64
	asHex  // text; base64 too, if it is no hexadecimal number in small letters
	asBits // base64, little-endian
	asBitText
	asJSON // text; anything else is made one
	asArray
	asObject
)

// isoTime is a time without a zone, with time.precision.mode=isostring.
const isoTime = "io.debezium.time.IsoTime"

// forms are those of the logical types. Source: io.debezium.time, io.debezium.data and Connect's
// own.
var forms = map[string]form{
	"io.debezium.data.Uuid":                   asUUID,
	"io.debezium.data.Json":                   asJSON,
	"io.debezium.data.Bits":                   asBits,
	"io.debezium.data.VariableScaleDecimal":   asVariable,
	"org.apache.kafka.connect.data.Decimal":   asDecimal,
	"io.debezium.time.ZonedTimestamp":         asZoned,
	"io.debezium.time.IsoTimestamp":           asZoned,
	"io.debezium.time.Timestamp":              asMillis,
	"io.debezium.time.MicroTimestamp":         asMicros,
	"io.debezium.time.NanoTimestamp":          asNanos,
	"org.apache.kafka.connect.data.Timestamp": asMillis,
	"io.debezium.time.Date":                   asDays,
	"org.apache.kafka.connect.data.Date":      asDays,
	"io.debezium.time.IsoDate":                asISODate,
	"io.debezium.time.Time":                   asTimeMillis,
	"io.debezium.time.MicroTime":              asTimeMicros,
	"io.debezium.time.NanoTime":               asTimeNanos,
	"org.apache.kafka.connect.data.Time":      asTimeMillis,
	"io.debezium.time.ZonedTime":              asClock,
	isoTime:                                   asClock,
	"io.debezium.time.MicroDuration":          asMicroDuration,
	"io.debezium.time.NanoDuration":           asNanoDuration,
	"io.debezium.time.Interval":               asISODuration,
}

// formOf is the form of a column that no Field names.
func formOf(t *debezium.Type) form {
	if t == nil {
		return asPlain
	}
	if f, known := forms[t.Name]; known {
		return f
	}
	switch t.Connect {
	case "string":
		return asString
	case "boolean":
		return asBool
	case "int8", "int16", "int32", "int64":
		return asInt
	case "float", "double", "float32", "float64":
		return asFloat
	case "bytes":
		return asBase64
	case "array":
		return asArray
	case "struct", "map":
		return asObject
	}
	return asPlain
}

// natural is the kind that the values of a form are stored as when no Field says otherwise.
func (f form) natural() Kind {
	switch f {
	case asString, asUUID, asJSON, asBits, asBitText:
		return Text
	case asBool:
		return Bool
	case asInt:
		return Int
	case asFloat:
		return Double
	case asNumeric, asDecimal, asVariable:
		return Decimal
	case asMicros, asMillis, asNanos, asZoned:
		return Timestamp
	case asDays, asISODate:
		return Date
	case asTimeMicros, asTimeMillis, asTimeNanos, asClock:
		return Time
	case asMicroDuration, asNanoDuration, asISODuration:
		return Interval
	case asBase64, asHex:
		return Bytes
	case asArray:
		return Array
	}
	return Any
}

// untyped is how a kind's values are written where no schema says it.
var untyped = map[Kind]form{
	UUID: asUUID, Text: asString, Bool: asBool, Int: asInt, Decimal: asNumeric, Double: asFloat,
	Timestamp: asZoned, Date: asISODate, Time: asClock, Interval: asISODuration, JSON: asJSON,
	Bytes: asBase64, Bits: asBitText, Array: asArray, Any: asPlain,
}

// texts are how a plain text is read for a Field that says what is in it.
var texts = map[Kind]form{
	UUID: asUUID, Text: asString, JSON: asString, Decimal: asNumeric, Timestamp: asZoned,
	Date: asISODate, Time: asClock, Interval: asISODuration, Bytes: asHex, Bits: asBitText,
}

// formFor is the form in which a Field's values are read, and whether values of the type belong into
// a Field of the kind. Where they do not, those are stored that the kind can hold without loss.
func formFor(k Kind, t *debezium.Type) (form, bool) {
	if t == nil {
		return untyped[k], true
	}
	f := formOf(t)
	switch {
	case t.Connect == "string" && (k == UUID || k == Text || k == JSON):
		return texts[k], true
	case f == asString && t.Name == "" && k != Any:
		g, known := texts[k]
		return g, known
	case k == Int && isInt(t):
		return asInt, true
	case k == Bits && f == asBool:
		return asBitText, true
	case k == JSON && (f == asArray || f == asObject):
		return asJSON, true
	}
	return f, belongs(k, f, t)
}

func isInt(t *debezium.Type) bool {
	switch t.Connect {
	case "int8", "int16", "int32", "int64":
		return true
	}
	return false
}

// belongs: every value of the type can be stored as the kind.
func belongs(k Kind, f form, t *debezium.Type) bool {
	switch k {
	case Any:
		return true
	case Text:
		return f != asArray && f != asObject
	case Int:
		return f == asDecimal && t.Scale == 0
	case Decimal:
		return f.natural() == Decimal || f == asInt || f == asFloat
	case Double:
		return f == asFloat || f == asInt && t.Connect != "int64"
	case Timestamp:
		return f.natural() == Timestamp || f.natural() == Date
	case Bits:
		return f == asBits
	}
	return f.natural() == k
}

package encode

import (
	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/entity"
)

// form is how a record writes the values of a column.
type form uint8

const (
	asPlain    form = iota // by the JSON type
	asString               // a text, stored unchanged
	asUUID                 // text
	asBool                 // true, false
	asInt                  // whole number
	asFloat                // number, or the text of a number that JSON lacks
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
	asJSON // text; anything else is made JSON
	asArray
	asObject
)

// isoTime is a time without a zone, with time.precision.mode=isostring.
const isoTime = "io.debezium.time.IsoTime"

// forms of the logical types. Source: io.debezium.time, io.debezium.data and Connect's own.
var forms = map[string]form{
	"io.debezium.data.Uuid":                   asUUID,
	"io.debezium.data.Json":                   asJSON,
	"io.debezium.data.Bits":                   asBits,
	"io.debezium.data.VariableScaleDecimal":   asVariable,
	debezium.ConnectDecimal:                   asDecimal,
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

// formOfType returns the form of a column without a Field.
func formOfType(t *debezium.Type) form {
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

// naturalKind returns the kind that stores a form's values when no Field says otherwise.
func (f form) naturalKind() entity.Kind {
	switch f {
	case asString, asUUID, asJSON, asBits, asBitText:
		return entity.Text
	case asBool:
		return entity.Bool
	case asInt:
		return entity.Int
	case asFloat:
		return entity.Double
	case asNumeric, asDecimal, asVariable:
		return entity.Decimal
	case asMicros, asMillis, asNanos, asZoned:
		return entity.Timestamp
	case asDays, asISODate:
		return entity.Date
	case asTimeMicros, asTimeMillis, asTimeNanos, asClock:
		return entity.Time
	case asMicroDuration, asNanoDuration, asISODuration:
		return entity.Interval
	case asBase64, asHex:
		return entity.Bytes
	case asArray:
		return entity.Array
	}
	return entity.Any
}

// untyped is how the values of a kind are written where no schema says it.
var untyped = map[entity.Kind]form{
	entity.UUID: asUUID, entity.Text: asString, entity.Bool: asBool, entity.Int: asInt,
	entity.Decimal: asNumeric, entity.Double: asFloat, entity.Timestamp: asZoned,
	entity.Date: asISODate, entity.Time: asClock, entity.Interval: asISODuration,
	entity.JSON:  asJSON,
	entity.Bytes: asBase64, entity.Bits: asBitText, entity.Array: asArray, entity.Any: asPlain,
}

// texts are how a plain text is read for a Field that tells the text's kind.
var texts = map[entity.Kind]form{
	entity.UUID: asUUID, entity.Text: asString, entity.JSON: asString, entity.Decimal: asNumeric,
	entity.Timestamp: asZoned, entity.Date: asISODate, entity.Time: asClock,
	entity.Interval: asISODuration, entity.Bytes: asHex, entity.Bits: asBitText,
}

// formForField returns the form in which a Field's values are read, and true if values of the type
// belong into a Field of the kind. Otherwise a value is stored only where the kind can hold it
// without loss.
func formForField(k entity.Kind, t *debezium.Type) (form, bool) {
	if t == nil {
		return untyped[k], true
	}
	f := formOfType(t)
	switch {
	case t.Connect == "string" && (k == entity.UUID || k == entity.Text || k == entity.JSON):
		return texts[k], true
	case f == asString && t.Name == "" && k != entity.Any:
		g, known := texts[k]
		return g, known
	case k == entity.Int && isIntegerType(t):
		return asInt, true
	case k == entity.Bits && f == asBool:
		return asBitText, true
	case k == entity.JSON && (f == asArray || f == asObject):
		return asJSON, true
	}
	return f, belongs(k, f, t)
}

func isIntegerType(t *debezium.Type) bool {
	switch t.Connect {
	case "int8", "int16", "int32", "int64":
		return true
	}
	return false
}

// belongs is true if every value of the type can be stored as the kind.
func belongs(k entity.Kind, f form, t *debezium.Type) bool {
	switch k {
	case entity.Any:
		return true
	case entity.Text:
		return f != asArray && f != asObject
	case entity.Int:
		return f == asDecimal && t.Scale == 0
	case entity.Decimal:
		return f.naturalKind() == entity.Decimal || f == asInt || f == asFloat
	case entity.Double:
		return f == asFloat || f == asInt && t.Connect != "int64"
	case entity.Timestamp:
		return f.naturalKind() == entity.Timestamp || f.naturalKind() == entity.Date
	case entity.Bits:
		return f == asBits
	}
	return f.naturalKind() == k
}

package debezium

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strconv"
	"strings"
)

// The logical types of precise decimals: Kafka's Decimal.java and Debezium's
// VariableScaleDecimal.java.
const (
	connectDecimal  = "org.apache.kafka.connect.data.Decimal"
	variableDecimal = "io.debezium.data.VariableScaleDecimal"
	maxScale        = 20000 // numeric has at most 16383 digits after the point
)

// connectSchema is the part of a schema block that decimals need.
type connectSchema struct {
	Field      string            `json:"field"`
	Name       string            `json:"name"`
	Fields     []connectSchema   `json:"fields"`
	Items      *connectSchema    `json:"items"`
	Parameters map[string]string `json:"parameters"`
}

// mayHoldDecimals spares parsing a schema that has none.
func mayHoldDecimals(schema []byte) bool { return bytes.Contains(schema, []byte("Decimal")) }

// decimalsToText replaces, in before and after, the precise decimals the schema names.
func (event *Event) decimalsToText(schema json.RawMessage) error {
	var block connectSchema
	if err := unmarshal("schema", schema, &block); err != nil {
		return err
	}
	for _, f := range block.Fields {
		var err error
		switch f.Field {
		case "before":
			err = f.decimalsToText("before", event.Before)
		case "after":
			err = f.decimalsToText("after", event.After)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// decimalsToText replaces the decimals in a row of this schema.
func (s *connectSchema) decimalsToText(place string, row Row) error {
	for i := range s.Fields {
		f := &s.Fields[i]
		value, there := row[f.Field]
		if !there || !f.decimal() {
			continue
		}
		text, err := f.decimalText(value)
		if err != nil {
			return formatErrorf(place+"."+f.Field, "%v", err)
		}
		row[f.Field] = text
	}
	return nil
}

func (s *connectSchema) decimal() bool {
	return s.Name == connectDecimal || s.Name == variableDecimal || s.Items != nil && s.Items.decimal()
}

// decimalText is the value with its decimals as texts; nulls and placeholders stay.
func (s *connectSchema) decimalText(value any) (any, error) {
	if value == nil || IsUnavailable(value) {
		return value, nil
	}
	switch v := value.(type) {
	case []any:
		if s.Items == nil {
			break
		}
		texts := make([]any, len(v))
		for i, member := range v {
			var err error
			if texts[i], err = s.Items.decimalText(member); err != nil {
				return nil, err
			}
		}
		return texts, nil
	case string:
		if s.Name == connectDecimal {
			return decimalText(v, s.Parameters["scale"])
		}
	case map[string]any:
		scale, isNumber := v["scale"].(json.Number)
		unscaled, isText := v["value"].(string)
		if s.Name == variableDecimal && isNumber && isText {
			return decimalText(unscaled, scale.String())
		}
	}
	return nil, formatErrorf("decimal", "a value of %T does not fit its schema %q", value, s.Name)
}

// decimalText is the decimal whose unscaled value is a base64 of a big-endian two's complement.
func decimalText(unscaled, scale string) (string, error) {
	places, err := strconv.Atoi(scale)
	if err != nil || places > maxScale || places < -maxScale {
		return "", formatErrorf("scale", "%q is no scale", scale)
	}
	raw, err := base64.StdEncoding.DecodeString(unscaled)
	if err != nil || len(raw) == 0 {
		return "", formatErrorf("decimal", "%q is no base64 of a number", unscaled)
	}
	n := new(big.Int).SetBytes(raw)
	if raw[0] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(raw))))
	}
	digits := new(big.Int).Abs(n).String()
	if places < 0 && n.Sign() != 0 {
		digits += strings.Repeat("0", -places)
	}
	if places > 0 {
		if short := places + 1 - len(digits); short > 0 {
			digits = strings.Repeat("0", short) + digits
		}
		digits = digits[:len(digits)-places] + "." + digits[len(digits)-places:]
	}
	if n.Sign() < 0 {
		digits = "-" + digits
	}
	return digits, nil
}

package debezium

// Type is the Connect schema of a column, or of an array's items.
type Type struct {
	// Connect is int8, int16, int32, int64, float32, float64, boolean, string, bytes, array, map or
	// struct.
	Connect string
	// Name is the logical type ("io.debezium.time.MicroTimestamp"); "" for a plain one.
	Name     string
	Optional bool
	// Scale is the scale of a ConnectDecimal.
	Scale int
	// Parameters are the schema's parameters by name.
	Parameters map[string]string
	// Items are the Type of an array's items.
	Items *Type
	// Default is the column's default as JSON; "" for none. Debezium writes the default for a
	// column that must not be null and was not sent.
	Default string
}

// ConnectDecimal is the logical type of a precise decimal. Source: Kafka's Decimal.java.
const ConnectDecimal = "org.apache.kafka.connect.data.Decimal"

// The names of Parameters. The names of the source's column are there with
// column.propagate.source.type.
const (
	ParameterScale        = "scale"
	ParameterPrecision    = "connect.decimal.precision"
	ParameterLength       = "length"  // of a Bits
	ParameterAllowed      = "allowed" // the values of an Enum
	ParameterColumnType   = "__debezium.source.column.type"
	ParameterColumnLength = "__debezium.source.column.length"
)

// Schema is the columns of a table, as in a record's schema block.
type Schema struct {
	// Name is <prefix>.<schema>.<table>.Value.
	Name    string
	Columns []SchemaColumn
}

// SchemaColumn is a column of a Schema.
type SchemaColumn struct {
	Name string
	Type *Type
}

package debezium

// Type is the Connect schema of a column, or of an array's items.
type Type struct {
	// Connect is int8, int16, int32, int64, float32, float64, boolean, string, bytes, array, map or
	// struct.
	Connect string
	// Name is the logical type ("io.debezium.time.MicroTimestamp"); "" for a plain one.
	Name     string
	Optional bool
	// Scale is that of an org.apache.kafka.connect.data.Decimal.
	Scale int
	// Parameters are the others' ("allowed" of an Enum, "__debezium.source.column.length").
	Parameters map[string]string
	// Items are an array's.
	Items *Type
}

// Schema is the columns of a table as a record's schema block has them.
type Schema struct {
	// Name is <prefix>.<schema>.<table>.Value.
	Name    string
	Columns []SchemaColumn
}

// SchemaColumn is one of them.
type SchemaColumn struct {
	Name string
	Type *Type
}

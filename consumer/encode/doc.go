// Package encode makes BSON of Debezium's events, and judges them by the rules of the table's Spec
// in the same pass. The package neither reads Kafka nor writes to MongoDB. Start reading at
// Encoder.Encode, then Tables, Table and plan, reader.readScalar and writer.writeScalar.
//
// # PostgreSQL to BSON
//
// Nothing is lost: a value that the usual BSON type cannot hold is stored as text. A column without
// a Field is stored by its Connect type, and without schemas by its JSON type (the last lines). An
// entity.Field's Kind decides for the others, in all of Debezium's modes. null is null.
//
//	PostgreSQL             Debezium's type          kind       BSON
//	uuid                   Uuid                     uuid       string, lower case
//	text varchar char      string                   text       string, unchanged: char is padded
//	citext xml enum        string Xml Enum          text       string
//	inet cidr macaddr      string                   text       string
//	ranges tsvector ltree  string Tsvector Ltree    text       string, as PostgreSQL prints it
//	boolean bit(1)         boolean                  bool       bool
//	smallint int bigint    int16 int32 int64        int        int64
//	oid                    int64                    int        int64
//	numeric money          Decimal                  decimal    Decimal128 of the same scale; text
//	                       VariableScaleDecimal                beyond its 34 digits or exponents
//	                       string float64
//	real                   float32                  double     double of the same shortest decimal
//	double precision       float64                  double     double, also NaN and infinities
//	timestamptz            ZonedTimestamp           timestamp  date (ms), <member>Exact: RFC 3339
//	timestamp              MicroTimestamp           timestamp  text in UTC where finer than ms;
//	                       Timestamp NanoTimestamp             text for infinity, -infinity and
//	                       IsoTimestamp                        years not in 1 to 9999: ISO 8601,
//	                                                           -0043 is 44 BC
//	date                   Date IsoDate             date       date, midnight UTC; text as above
//	time                   MicroTime Time NanoTime  time       string HH:MM:SS.ffffff, no zeros at
//	                       IsoTime                             the end; 24:00:00 is a time
//	timetz                 ZonedTime                time       string HH:MM:SS.ffffffZ, in UTC
//	interval               MicroDuration            interval   string, ISO 8601: PT10303H5M6.789S
//	                       NanoDuration
//	                       Interval (string)                   string, ISO 8601, unchanged
//	json jsonb             Json                     json       string, unchanged: so are numbers'
//	                                                           digits and members' order
//	hstore                 Json                     json       string
//	                       map                      any        document
//	bytea                  bytes                    bytes      binary
//	                       string (hex mode)        bytes      binary; text without a Field
//	bit(n) varbit          Bits                     bits       string of binary digits; a bit(n)
//	                                                           above 8 lacks a first byte of zeros
//	                                                           unless there is
//	                                                           column.propagate.source.type
//	arrays                 array                    array      array of the items' types; of
//	                                                           timestamps also texts <member>Exact
//	point geometry vector  struct array             any        document, array
//
//	without a schema       string                   any        string, also the NaN of a float
//	                       true false               any        bool
//	                       number                   any        int64 if whole, Decimal128 beyond;
//	                                                           a fraction: double of the same
//	                                                           digits, else Decimal128
//	                       array object             any        array, document
//
// A record does not tell the binary.handling.mode of a bytea's text. With a schema a Field of bytes
// reads a text as hexadecimal if possible, and else as base64; without a schema always as base64.
// Therefore in hex mode a bytea column without a schema must have no Field, or the kind text. The
// mode bytes leaves no doubt.
//
// Names within documents are changed where MongoDB does not take them: a dot becomes U+FF0E, a
// leading $ U+FF04.
package encode

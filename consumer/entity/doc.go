// Package entity holds the declarative description of what is replicated: which table becomes
// which collection, how its values are stored, and the rules that its rows obey. It is pure: no
// Kafka, no MongoDB connection, no clock. Start reading at Spec, then specs/*.yaml, then Encoder.
//
// # PostgreSQL to BSON
//
// Nothing is lost: what the usual BSON type cannot hold is stored as text. A column that no Spec
// names is stored by its Connect type, and without schemas by its JSON type (the last lines). A
// Field's Kind decides for the others, whatever Debezium's modes are. null is null.
//
//	PostgreSQL             Debezium's type          kind       BSON
//	uuid                   Uuid                     uuid       string, lower case
//	text varchar char      string                   text       string as it came: char is padded
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
//	timestamptz            ZonedTimestamp           timestamp  date (ms), and <member>Exact: RFC 3339
//	timestamp              MicroTimestamp           timestamp  text in UTC where it has more than
//	                       Timestamp NanoTimestamp             milliseconds; text for infinity,
//	                       IsoTimestamp                        -infinity and years not in 1 to 9999:
//	                                                           ISO 8601, -0043 is 44 BC
//	date                   Date IsoDate             date       date, midnight UTC; text as above
//	time                   MicroTime Time NanoTime  time       string HH:MM:SS.ffffff, no zeros at
//	                       IsoTime                             the end; 24:00:00 is one
//	timetz                 ZonedTime                time       string HH:MM:SS.ffffffZ, in UTC
//	interval               MicroDuration            interval   string, ISO 8601: PT10303H5M6.789S
//	                       NanoDuration
//	                       Interval (string)                   string, ISO 8601 as it came
//	json jsonb             Json                     json       string as it came: it keeps the
//	                                                           numbers' digits and members' order
//	hstore                 Json                     json       string
//	                       map                      any        document
//	bytea                  bytes                    bytes      binary
//	                       string (hex mode)        bytes      binary; text where no Field says bytes
//	bit(n) varbit          Bits                     bits       string of its binary digits; of a bit(n)
//	                                                           above 8 without a first byte of zeros,
//	                                                           but with column.propagate.source.type
//	arrays                 array                    array      array of what its items are; of
//	                                                           timestamps also <member>Exact, texts
//	point geometry vector  struct array             any        document, array
//
//	without a schema       string                   any        string, also the NaN of a float
//	                       true false               any        bool
//	                       number                   any        int64 if it is whole, Decimal128
//	                                                           beyond; a fraction: double if that
//	                                                           has the same digits, else Decimal128
//	                       array object             any        array, document
//
// Which of binary.handling.mode's texts a bytea is in is not in a record: with a schema a Field of bytes
// takes what can be hexadecimal for that, and else for base64; without one for base64, so that in hex mode
// such a column must have no Field, or the kind text. The mode bytes leaves no doubt.
//
// Names within documents that MongoDB does not take are changed: a dot becomes U+FF0E, a leading $
// U+FF04.
package entity

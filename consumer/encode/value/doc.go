// Package value reads and writes the values of PostgreSQL's types: decimals as BSON's Decimal128,
// days and times of the proleptic Gregorian calendar, times of day, intervals and UUIDs,
// in the spellings of Debezium and of PostgreSQL. The package knows no column, no record and no
// document. Start reading at ParseDecimal, then Instant and ParseZoned, then PostgresTime.
package value

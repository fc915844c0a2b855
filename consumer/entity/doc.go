// Package entity describes the replication of tables: the collection of each table, the storage of
// the values of a column, and the rules for a row. The package also writes the rows and the
// documents of a table as texts that compare. No Kafka, no MongoDB connection, no record of
// Debezium and no clock are in here. Start reading at Spec, then specs/*.yaml, Load, and
// DocumentText.
package entity

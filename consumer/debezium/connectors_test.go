package debezium

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// foreignSources are the source blocks of Debezium's other connectors, with a connector's own
// operations. Source: the SourceInfoStructMaker of each connector, Debezium 3.6.
var foreignSources = map[string]struct{ source, ops string }{
	"mysql": {`"name":"m","ts_ms":1,"snapshot":"false","db":"shop","sequence":null,` +
		`"table":"t","server_id":1,"gtid":null,"file":"b.3","pos":154,"row":0,"thread":7,` +
		`"query":null`, "crudt"},
	"mariadb": {`"name":"m","ts_ms":1,"snapshot":"first","db":"shop","sequence":null,` +
		`"table":"t","server_id":1,"gtid":"0-1-5","file":"b.3","pos":154,"row":0`, "crudt"},
	"oracle": {`"name":"o","ts_ms":1,"snapshot":"false","db":"ORCL","sequence":null,` +
		`"schema":"C","table":"T","txId":"0a001b0004000000","scn":"2122","commit_scn":"2123",` +
		`"lcr_position":null,"rs_id":"001234","ssn":0,"redo_thread":1`, "crudtm"},
	"sqlserver": {`"name":"s","ts_ms":1,"snapshot":"false","db":"shop","sequence":null,` +
		`"schema":"dbo","table":"t","change_lsn":"0027:c0:2","commit_lsn":"0027:c0:7",` +
		`"event_serial_no":1`, "crud"},
	"db2": {`"name":"d","ts_ms":1,"snapshot":"last","db":"D","sequence":null,"schema":"I",` +
		`"table":"T","change_lsn":"00:00","commit_lsn":"00:01"`, "crud"},
	"informix": {`"name":"i","ts_ms":1,"snapshot":"false","db":"i","schema":"s","table":"t",` +
		`"commit_lsn":"12","change_lsn":"13","txId":"5","begin_lsn":"11"`, "crudt"},
	"mongodb": {`"name":"m","ts_ms":1,"snapshot":"false","db":"shop","sequence":null,` +
		`"collection":"c","ord":1,"lsid":null,"txnNumber":null`, "crud"},
	"vitess": {`"name":"v","ts_ms":1,"snapshot":"false","db":"","sequence":"[\"1\",\"2\"]",` +
		`"keyspace":"k","table":"t","shard":"-","vgtid":"[{}]"`, "crud"},
	"spanner": {`"name":"s","ts_ms":1,"snapshot":"false","db":"d","sequence":"3","table":"t",` +
		`"server_transaction_id":"x","project_id":"p","instance_id":"i","database_id":"d",` +
		`"change_stream_name":"c","low_watermark":1,"read_at_timestamp":2,` +
		`"number_of_records_in_transaction":1,"transaction_tag":"","system_transaction":false,` +
		`"value_capture_type":"OLD_AND_NEW_VALUES","partition_token":"t","mod_number":0`, "cud"},
	"cassandra": {`"name":"c","ts_micro":1,"snapshot":false,"db":"N","keyspace_name":"k",` +
		`"table_name":"t","cluster":"c","file":"f","pos":1`, "iudrm"},
	"cockroachdb": {`"name":"c","ts_ms":1,"db":"d","schema":"public","table":"t",` +
		`"cluster":"c","resolved_ts":"1.0","ts_hlc":"2.0","lsn":"3","txId":"4"`, "cudr"},
}

// TestForeignEnvelopes: an envelope of another connector is refused alike, with the connector named
// in the reason, whatever the operation, the schemas and the row.
func TestForeignEnvelopes(t *testing.T) {
	t.Parallel()
	for connector, c := range foreignSources {
		for _, op := range c.ops {
			for _, rows := range []string{`"before":null,"after":{"id":1}`,
				`"before":{"id":1},"after":null`, `"before":null,"after":null`,
				`"before":null,"after":"{\"_id\":1}","updateDescription":{"removedFields":null}`,
				`"after":{"id":{"value":1,"deletion_ts":null,"set":true}}`} {
				value := fmt.Sprintf(`{%s,"source":{"version":"3.6.0","connector":%q,%s},`+
					`"op":"%c","ts_ms":5,"transaction":null}`, rows, connector, c.source, op)
				for _, value := range []string{value, `{"schema":{"type":"struct","fields":[]},` +
					`"payload":` + value + `}`, `{"schema":null,"payload":` + value + `}`} {
					for _, key := range []string{`{"id":1}`, "7", ""} {
						var d Decoder
						_, err := d.Decode([]byte(key), []byte(value), nil)
						want := fmt.Sprintf("source.connector: is %q", connector)
						if err == nil || !strings.HasPrefix(err.Error(), want) {
							t.Errorf("%s: %v\nof %s", want, err, value)
						}
					}
				}
			}
		}
	}
}

// TestOtherMessages: a message without an event is named, and passed over only where the message
// cannot be a row: a flattened row may have columns called like the members of Debezium's own
// messages.
func TestOtherMessages(t *testing.T) {
	t.Parallel()
	const end = `{"status":"END","id":"571:53","event_count":2,"data_collections":[],"ts_ms":1}`
	for _, c := range []struct{ key, value, want, other string }{
		{`{"serverName":"cdc"}`, `{"ts_ms":5}`, "is a heartbeat", "heartbeat"},
		{`{"id":"571:53"}`, end, "is transaction metadata", "transaction"},
		{`{"id":"571"}`, `{"status":"BEGIN","id":"571","event_count":null,` +
			`"data_collections":null}`, "is transaction metadata", "transaction"},
		{`{"id":1}`, `{"ts_ms":5}`, flattened, ""},
		{`{"ts_ms":5}`, `{"ts_ms":5}`, flattened, ""},
		{"", `{"ts_ms":5}`, "is a heartbeat", ""},
		{`{"id":7}`, `{"id":7,"status":"PAID","event_count":3}`, flattened, ""},
		{`{"id":"7"}`, `{"id":"7","status":"END","event_count":3}`, flattened, ""},
		{`{"id":7}`, `{"id":7,"status":"END","event_count":3,"data_collections":null}`, flattened,
			""},
		{`{"id":7}`, `{"id":7,"name":"x","__deleted":"false","__op":"u"}`, flattened, ""},
		{`{"id":7}`, `{"id":7,"op":"x","source":{"a":1}}`, "", ""},
		{`{"id":7}`, `{"id":7,"op":"u","source":"shop"}`, "", ""},
		{`{"databaseName":"shop"}`, `{"source":{"connector":"mysql","db":"shop"},"ts_ms":1,` +
			`"databaseName":"shop","schemaName":null,"ddl":"DROP TABLE t","tableChanges":[]}`,
			`source.connector: is "mysql"`, ""},
	} {
		for _, schemas := range []bool{false, true} {
			key, value := c.key, c.value
			if schemas {
				value = `{"schema":{"type":"struct","fields":[]},"payload":` + value + `}`
			}
			var d Decoder
			_, err := d.Decode([]byte(key), []byte(value), nil)
			var format *FormatError
			if !errors.As(err, &format) || format.Other != c.other ||
				!strings.Contains(err.Error(), c.want) {
				t.Errorf("%s %s: %v, want %q, other %q", key, value, err, c.want, c.other)
			}
		}
	}
}

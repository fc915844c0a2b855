package telemetry

// The catalogue: the names of the consumer's own metrics, for dashboards and alert rules. A name
// ends in the unit. The collectors of Go and of the process are there too.
const (
	// MetricEvents counts events{entity,operation,outcome}, as the Outcome constants say.
	// Debezium's tombstones (null values) are not events.
	MetricEvents = "cdc_consumer_events_total"
	// MetricBatchSize is a histogram of the records in a batch of one partition.
	MetricBatchSize = "cdc_consumer_batch_size"
	// MetricStageSeconds is a histogram{stage} of streamed events, in seconds: how long each took
	// from the commit to the connector, to Kafka (the record's time, in whole milliseconds), to the
	// consumer, to the acknowledged write, and in all. All but the fourth compare clocks of several
	// machines.
	MetricStageSeconds = "cdc_consumer_stage_seconds"
	// MetricProcessingSeconds is a histogram of the time from taking up a batch to its last
	// acknowledgement, waiting for servers included.
	MetricProcessingSeconds = "cdc_consumer_processing_seconds"
	// MetricRetries counts transient errors{reason=network|timeout|write_concern|server|kafka},
	// vain looks for the delete belonging to a change of a row's key{reason=key_change}, and
	// fetches with batches left for the next fetch{reason=memory}.
	MetricRetries = "cdc_consumer_retries_total"
	// MetricDeadLetters counts acknowledged dead letters{rule,entity}: the rule broken.
	MetricDeadLetters = "cdc_consumer_dead_letters_total"
	// MetricDeadLetterRecords is how many records the dead-letter topic holds, marks of a letter as
	// replayed or dropped included; every member of the group says the same. Like each metric of
	// what a look at a server found, the metric is absent before the first look.
	MetricDeadLetterRecords = "cdc_consumer_dead_letter_topic_records"
	// MetricDecodeErrors counts dead letters{topic} without a Debezium event.
	MetricDecodeErrors = "cdc_consumer_decode_errors_total"
	// MetricPausedPartitions is how many partitions are backing off from a transient error now.
	MetricPausedPartitions = "cdc_consumer_paused_partitions"
	// MetricBlockedPartitions is how many partitions cannot go on: a batch is broken, or
	// decompresses to more than --fetch-max-bytes.
	MetricBlockedPartitions = "cdc_consumer_blocked_partitions"
	// MetricUnreadTopics is how many topics of the subscription nobody reads: deleted, made anew
	// and not taken up yet, or with a partition that no member of the group has.
	MetricUnreadTopics = "cdc_consumer_unread_topics"
	// MetricTopicsAnew counts topics that were deleted and made anew while the process ran.
	MetricTopicsAnew = "cdc_consumer_topics_anew_total"
	// MetricHeldBytes is the memory of the records that are queued, under way or parked.
	MetricHeldBytes = "cdc_consumer_held_bytes"
	// MetricAssignedPartitions is how many partitions this member of the group has.
	MetricAssignedPartitions = "cdc_consumer_assigned_partitions"
	// MetricRebalances counts changes of the assignment{kind=assigned|revoked}.
	MetricRebalances = "cdc_consumer_rebalances_total"
	// MetricLag is how many records{topic,partition} of an assigned partition are not committed.
	MetricLag = "cdc_consumer_lag_records"
	// MetricCommittedOffset is the group's offset{topic,partition} of an assigned partition.
	MetricCommittedOffset = "cdc_consumer_committed_offset"
	// MetricKafkaBrokers is how many brokers the cluster had at the last look; 0 without an answer.
	MetricKafkaBrokers = "cdc_consumer_kafka_reachable_brokers"

	// MetricParkedRecords is how many events{entity} wait for a referred row.
	MetricParkedRecords = "cdc_consumer_parked_records"
	// MetricParkedBytes is the memory of the parked events.
	MetricParkedBytes = "cdc_consumer_parked_bytes"
	// MetricParkedOldestSeconds is how long the oldest has waited.
	MetricParkedOldestSeconds = "cdc_consumer_parked_oldest_seconds"

	// MetricMongoSeconds is a histogram{command} of MongoDB's commands.
	MetricMongoSeconds = "cdc_consumer_mongo_command_seconds"
	// MetricMongoFailures counts commands{command} failed as a whole.
	MetricMongoFailures = "cdc_consumer_mongo_command_failures_total"
	// MetricMongoServers is how many of MongoDB's servers are known to answer.
	MetricMongoServers = "cdc_consumer_mongo_reachable_servers"
	// MetricClockSeconds is the time, in seconds since 1970: whose clock the stages are stamped by.
	MetricClockSeconds = "cdc_consumer_clock_seconds"
	// MetricPoolConnections is the pool's connections{state=open|in_use}.
	MetricPoolConnections = "cdc_consumer_mongo_pool_connections"
	// MetricPoolMaxConnections is how many there may be to each server.
	MetricPoolMaxConnections = "cdc_consumer_mongo_pool_max_connections"
	// MetricPoolEvents counts events of the pool{event=created|closed|cleared|checkout_failed}.
	MetricPoolEvents = "cdc_consumer_mongo_pool_events_total"
	// MetricPoolWaitSeconds is a histogram of the time a command waited for a connection.
	MetricPoolWaitSeconds = "cdc_consumer_mongo_pool_wait_seconds"

	// MetricValidationPassed counts events without a broken rule of severity reject.
	MetricValidationPassed = "cdc_validation_passed_total"
	// MetricValidationFailed counts broken rules{rule,entity,severity}; an event may break several.
	MetricValidationFailed = "cdc_validation_failed_total"
	// MetricValidationLatency is a histogram of the validation time of an event, in seconds.
	MetricValidationLatency = "cdc_validation_latency_seconds"
	// MetricOutOfOrder counts events{entity} with an earlier position than an event before in the
	// same partition: a replay, or a source out of order.
	MetricOutOfOrder = "cdc_consumer_out_of_order_total"
	// MetricTimeDriftSeconds is the last event's{entity} time in Kafka less the commit's: delay,
	// and below 0 a wrong clock. Neither a replay nor a snapshot changes the metric.
	MetricTimeDriftSeconds = "cdc_consumer_time_drift_seconds"
	// MetricSchemaChanges counts changes{entity,column,kind,severity} of tables' columns. Beyond
	// 1,000 columns the label is "other".
	MetricSchemaChanges = "cdc_consumer_schema_changes_total"
	// MetricSchemaVersions is how many shapes of rows{entity} this process has seen.
	MetricSchemaVersions = "cdc_consumer_schema_versions"
	// MetricSpecsReloads counts reloads of --specs{result=changed|failed}.
	MetricSpecsReloads = "cdc_consumer_specs_reloads_total"
	// MetricTraceFailures counts unsent batches of spans.
	MetricTraceFailures = "cdc_consumer_trace_export_failures_total"
	// MetricBuild is 1{version,revision,go_version}.
	MetricBuild = "cdc_consumer_build_info"
)

// The values of the label stage of MetricStageSeconds.
const (
	StageSourceToConnector = "source_to_connector"
	StageConnectorToKafka  = "connector_to_kafka"
	StageKafkaToConsumer   = "kafka_to_consumer"
	StageConsumerToApplied = "consumer_to_applied"
	StageSourceToApplied   = "source_to_applied"
)

// The values of the label outcome of MetricEvents. Each event has one of the first five, counted
// when the end is known, and besides OutcomeParked for each wait.
const (
	OutcomeApplied    = "applied"
	OutcomeStale      = "stale"
	OutcomeFolded     = "folded"
	OutcomeDeadLetter = "dead_letter"
	OutcomeIgnored    = "ignored" // asks for nothing: a heartbeat, transaction metadata, a message
	OutcomeParked     = "parked"
)

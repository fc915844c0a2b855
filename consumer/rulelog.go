package consumer

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/cdclab/cdclab/consumer/entity"
)

// ruleLog counts and logs broken rules and changes of schema: the rules once a batch and without a
// row's values, which are told at debug only.
type ruleLog struct {
	metrics *metrics
	log     *slog.Logger
	seen    map[brokenRule]*broken
	tables  *sync.Map // of the process: those whose rows have no key
}

type brokenRule struct {
	topic, entity, operation, rule, field string
	partition                             int32
}

// broken is how often a rule was broken in a batch, and the trace of the first such event, if it has
// one.
type broken struct {
	events int
	trace  context.Context
}

// judge is nil, or the rejection that the violations make together.
func (l *ruleLog) judge(d *draft, violations []entity.Violation) error {
	if len(violations) == 0 {
		return nil
	}
	l.broken(d, violations)
	var rule string
	var reasons []string
	for _, v := range violations {
		if v.Severity != entity.Reject {
			continue
		}
		rule = cmp.Or(rule, v.Rule)
		reasons = append(reasons, v.Error())
	}
	if rule == "" {
		return nil
	}
	return &rejection{rule, strings.Join(reasons, "\n")}
}

// broken counts and logs.
func (l *ruleLog) broken(d *draft, violations []entity.Violation) {
	for _, v := range violations {
		l.metrics.violated(v.Rule, d.entity, v.Severity)
		of := brokenRule{d.record.Topic, d.entity, d.operation, v.Rule, v.Field, d.record.Partition}
		if l.seen == nil {
			l.seen = map[brokenRule]*broken{}
		}
		if l.seen[of] == nil {
			l.seen[of] = &broken{trace: d.record.Context}
		}
		l.seen[of].events++
		l.tell(d, slog.LevelDebug, "rule broken", "rule", v.Rule, "field", v.Field, valueKey, v.Value)
	}
}

// tell logs a line about one event.
func (l *ruleLog) tell(d *draft, level slog.Level, message string, about ...any) {
	ctx := cmp.Or(d.record.Context, context.Background())
	if !l.log.Enabled(ctx, level) {
		return
	}
	l.log.Log(ctx, level, message,
		append(about, "entity_type", d.entity, "operation", d.operation, "kafka_topic", d.record.Topic,
			"kafka_partition", d.record.Partition, "kafka_offset", d.record.Offset)...)
}

func (l *ruleLog) schemaChange(d *draft, c *entity.SchemaChange) {
	l.metrics.schemaChange(d.entity, c)
	level := slog.LevelWarn
	if c.Severity == entity.Error {
		level = slog.LevelError
	}
	l.tell(d, level, "schema changed", "column", c.Column, "kind", c.Kind, "from", c.From, "to", c.To)
}

// keyless tells of a table whose rows cannot be stored, once.
func (l *ruleLog) keyless(d *draft, err error) {
	table := d.table.Spec().Table
	if _, told := l.tables.LoadOrStore(table, true); !told {
		l.tell(d, slog.LevelError, "a table without a key: its rows are dead letters", "table", table,
			"reason", err.Error())
	}
}

// flush ends a batch, whose context is for the lines about events that have none.
func (l *ruleLog) flush(ctx context.Context) {
	for _, b := range slices.SortedFunc(maps.Keys(l.seen), compareBroken) {
		l.log.WarnContext(cmp.Or(l.seen[b].trace, ctx), "rule broken", "entity_type", b.entity,
			"operation", b.operation, "rule", b.rule, "field", b.field, "events", l.seen[b].events,
			"kafka_topic", b.topic, "kafka_partition", b.partition)
	}
	clear(l.seen)
}

func compareBroken(a, b brokenRule) int {
	return cmp.Or(cmp.Compare(a.rule, b.rule), cmp.Compare(a.field, b.field),
		cmp.Compare(a.entity, b.entity), cmp.Compare(a.operation, b.operation))
}

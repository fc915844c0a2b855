package connector

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
)

// table has everything needed to make records of a table's rows.
type table struct {
	schema, name, topic string
	columns             []column
	// key are the places of the primary key's columns, in the key's order; none without a primary
	// key.
	key []int
}

// column is a column, in the order of the rows.
type column struct {
	name string
	kind kind
	// identity is true if PostgreSQL sends the column of a deleted row.
	identity bool
	// absent is the value in a row that PostgreSQL sent without the column: null, or for NOT NULL
	// the default or a stand-in, as in Debezium (JdbcValueConverters, TableSchemaBuilder).
	absent any
}

// catalogColumn is a column in the catalog of now.
type catalogColumn struct {
	name    string
	typeOID uint32
	typmod  int32
	kind    kind
	notNull bool
	// expression is of the default; "" is none.
	expression string
	// keyPlace is the place in the primary key, -1 outside.
	keyPlace int
}

const catalogQuery = `SELECT a.attname, a.atttypid, a.atttypmod, b.oid,
	CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END,
	CASE WHEN b.typcategory = 'A' THEN b.typelem ELSE 0 END,
	a.attnotnull OR t.typnotnull, coalesce(pg_get_expr(d.adbin, d.adrelid), ''),
	coalesce(CASE WHEN array_position(i.indkey::int2[], a.attnum) < i.indnkeyatts
		THEN array_position(i.indkey::int2[], a.attnum) END, -1)
	FROM pg_attribute a
	JOIN pg_type t ON t.oid = a.atttypid
	JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
	LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
	LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
	WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`

// catalog reads the columns of a table; none of a table that is gone.
func (s *session) catalog(ctx context.Context, relation uint32) ([]catalogColumn, error) {
	rows, err := s.sql.Query(ctx, catalogQuery, relation)
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	columns, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (catalogColumn, error) {
		var c catalogColumn
		var element uint32
		err := row.Scan(&c.name, &c.typeOID, &c.typmod, &c.kind.oid, &c.kind.typmod, &element,
			&c.notNull, &c.expression, &c.keyPlace)
		if element != 0 {
			c.kind.oid, c.kind.array = element, true
		}
		return c, err
	})
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	return columns, nil
}

// describe joins a Relation message with the catalog: the message has the columns as of the change;
// only the catalog knows the primary key, NOT NULL and defaults, as of now.
func (s *session) describe(ctx context.Context, m *pglogrepl.RelationMessage) (*table, error) {
	now, err := s.catalog(ctx, m.RelationID)
	if err != nil {
		return nil, fmt.Errorf("describe table %s.%s: %w", m.Namespace, m.RelationName, err)
	}
	t := s.newTable(m.Namespace, m.RelationName)
	const identity = 1 // RelationMessageColumn.Flags
	var keyPlaces, identities []int
	for place, c := range m.Columns {
		described := column{
			name:     c.Name,
			kind:     kind{oid: c.DataType, typmod: c.TypeModifier},
			identity: c.Flags&identity != 0,
		}
		keyPlace := -1
		at := slices.IndexFunc(now, func(n catalogColumn) bool { return n.name == c.Name })
		if at >= 0 {
			if now[at].typeOID == c.DataType && now[at].typmod == c.TypeModifier {
				described.kind = now[at].kind
			}
			described.absent = now[at].absent(described.kind)
			keyPlace = now[at].keyPlace
		}
		t.columns = append(t.columns, described)
		keyPlaces = append(keyPlaces, keyPlace)
		if described.identity {
			identities = append(identities, place)
		}
	}
	t.key = inKeyOrder(keyPlaces)
	if len(t.key) == 0 && m.ReplicaIdentity != identityFull {
		// No primary key, or the table is gone: the replica identity is the key then.
		t.key = identities
	}
	return t, nil
}

// identityFull is REPLICA IDENTITY FULL in a Relation message.
const identityFull = 'f'

func (s *session) newTable(schema, name string) *table {
	return &table{schema: schema, name: name, topic: topicName(s.config.TopicPrefix, schema, name)}
}

// inKeyOrder turns each column's place in the key (-1 is none) into the columns in key order.
func inKeyOrder(keyPlaces []int) []int {
	var key []int
	for place, in := range keyPlaces {
		if in >= 0 {
			key = append(key, place)
		}
	}
	slices.SortFunc(key, func(a, b int) int { return keyPlaces[a] - keyPlaces[b] })
	return key
}

// absent is the value of a column not sent.
func (c catalogColumn) absent(k kind) any {
	if !c.notNull {
		return nil
	}
	if text, ok := literal(c.expression); ok {
		return k.value(k.scaled(text))
	}
	return k.zero()
}

// Constants as pg_get_expr prints them: 'it”s'::text, 1.5.
var (
	quoted = regexp.MustCompile(`^'((?:[^']|'')*)'::[a-z "().,0-9]+$`)
	number = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`)
)

// literal is the text of a constant default, as printed by pg_get_expr.
func literal(expression string) (string, bool) {
	expression = strings.TrimSuffix(strings.TrimPrefix(expression, "("), ")")
	if match := quoted.FindStringSubmatch(expression); match != nil {
		return strings.ReplaceAll(match[1], "''", "'"), true
	}
	switch {
	case expression == "true", expression == "false":
		return expression[:1], true
	case number.MatchString(expression):
		return expression, true
	}
	return "", false
}

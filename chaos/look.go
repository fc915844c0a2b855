package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"

	"github.com/cdclab/cdclab/consumer/entity"
)

// look reads both sides: the rows first, in one snapshot, then the documents.
type look struct {
	postgres *pgx.Conn
	client   *mongo.Client
	mongo    *mongo.Database
	layouts  []*layout
}

// openLook connects to both databases.
func openLook(ctx context.Context, c CheckConfig) (*look, error) {
	settings, err := pgx.ParseConfig(c.PostgresDSN)
	if err != nil {
		return nil, fmt.Errorf("read the PostgreSQL address: %w", err)
	}
	// Texts are compared: they must not depend on the server's or the user's settings.
	settings.RuntimeParams["timezone"] = "UTC"
	settings.RuntimeParams["datestyle"] = "ISO"
	l := new(look)
	for _, spec := range c.Registry.All() {
		l.layouts = append(l.layouts, newLayout(spec))
	}
	if l.postgres, err = pgx.ConnectConfig(ctx, settings); err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	l.client, err = mongo.Connect(options.Client().ApplyURI(c.MongoURI).
		SetReadConcern(readconcern.Majority()).
		SetBSONOptions(&options.BSONOptions{DefaultDocumentM: true}))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect to MongoDB: %w", err), l.postgres.Close(ctx))
	}
	l.mongo = l.client.Database(c.Database)
	return l, nil
}

func (l *look) close(ctx context.Context) error {
	return errors.Join(l.postgres.Close(ctx), l.client.Disconnect(ctx))
}

// first reads every row and every document, or those of the ledger's keys. An item lives in an order
// that the ledger names as well: the generator gives no row of its own to another's.
func (l *look) first(ctx context.Context, c CheckConfig, fates *fates) (tables, error) {
	ts := make(tables, len(l.layouts))
	for n, layout := range l.layouts {
		ts[n] = newComparison(layout)
		if !c.OnlyLedger {
			continue
		}
		ts[n].only = map[string]bool{}
		for key := range fates.byKey[layout.spec.Entity] {
			ts[n].only[key] = true
		}
	}
	return ts, l.read(ctx, ts, nil)
}

// again reads what is known of the keys of the findings.
func (l *look) again(ctx context.Context, some []finding) (tables, error) {
	ts := make(tables, len(l.layouts))
	places := map[string][]string{}
	for n, layout := range l.layouts {
		ts[n] = newComparison(layout)
		ts[n].only = map[string]bool{}
		for _, f := range some {
			if f.Entity != layout.spec.Entity {
				continue
			}
			ts[n].only[f.Key] = true
			places[f.Entity] = append(places[f.Entity], f.places...)
		}
	}
	return ts, l.read(ctx, ts, places)
}

// read fills the tables. Those that are limited to some keys find their items in the places, and in
// the documents that their rows name.
func (l *look) read(ctx context.Context, ts tables, places map[string][]string) error {
	options := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := pgx.BeginTxFunc(ctx, l.postgres, options, func(tx pgx.Tx) error {
		for _, t := range ts {
			if err := readRows(ctx, tx, t); err != nil {
				return fmt.Errorf("read %s: %w", t.spec.Table, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, t := range ts {
		if t.spec.Embed != nil {
			continue
		}
		if err := l.readDocuments(ctx, t, ts.inside(t), places); err != nil {
			return fmt.Errorf("read collection %s: %w", t.spec.Collection, err)
		}
	}
	return nil
}

// readRows adds the rows of one table.
func readRows(ctx context.Context, tx pgx.Tx, t *comparison) error {
	columns := t.columns()
	query := selectTexts(t.spec, columns)
	var arguments []any
	if t.only != nil {
		if len(t.only) == 0 {
			return nil
		}
		query += fmt.Sprintf(" WHERE %s = ANY ($1::text[]::%s[])",
			quote(t.spec.Key), keyTypes[keyKind(t.spec)])
		arguments = append(arguments, keys(t.only))
	}
	rows, err := tx.Query(ctx, query, arguments...)
	if err != nil {
		return err
	}
	defer rows.Close()
	texts := make([]*string, len(columns))
	targets := make([]any, len(columns))
	for n := range texts {
		targets[n] = &texts[n]
	}
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return err
		}
		named := make(map[string]*string, len(columns))
		for n, column := range columns {
			named[column] = texts[n]
		}
		key, r, err := t.row(named)
		if err != nil {
			return err
		}
		t.addRow(key, r)
	}
	return rows.Err()
}

func selectTexts(spec *entity.Spec, columns []string) string {
	texts := make([]string, len(columns))
	for n, column := range columns {
		texts[n] = quote(column) + "::text"
	}
	return "SELECT " + strings.Join(texts, ", ") +
		" FROM " + pgx.Identifier(strings.Split(spec.Table, ".")).Sanitize()
}

func quote(column string) string { return pgx.Identifier{column}.Sanitize() }

// keyTypes are the types to which a list of keys is cast, so that the primary key's index serves.
var keyTypes = map[entity.Kind]string{
	entity.UUID: "uuid", entity.Int: "bigint", entity.Text: "text",
}

func keyKind(spec *entity.Spec) entity.Kind {
	for _, f := range spec.Fields {
		if f.Column == spec.Key {
			return f.Kind
		}
	}
	return entity.Text
}

func keys(set map[string]bool) []string {
	list := make([]string, 0, len(set))
	for key := range set {
		list = append(list, key)
	}
	slices.Sort(list)
	return list
}

// readDocuments shows the documents of a collection to t, and the items in them to those inside.
func (l *look) readDocuments(ctx context.Context, t *comparison, inside tables,
	places map[string][]string) error {
	filter := bson.M{}
	if t.only != nil {
		wanted := keys(t.only)
		for _, items := range inside {
			wanted = append(wanted, places[items.spec.Entity]...)
			for _, r := range items.rows {
				wanted = append(wanted, r.parent)
			}
		}
		if len(wanted) == 0 {
			return nil
		}
		slices.Sort(wanted)
		filter["_id"] = bson.M{"$in": slices.Compact(wanted)}
	}
	cursor, err := l.mongo.Collection(t.spec.Collection).Find(ctx, filter)
	if err != nil {
		return err
	}
	defer cursor.Close(context.WithoutCancel(ctx))
	for cursor.Next(ctx) {
		var document bson.M
		if err := cursor.Decode(&document); err != nil {
			return err
		}
		seeDocument(t, inside, document)
	}
	return cursor.Err()
}

// seeDocument shows one document and its items.
func seeDocument(t *comparison, inside tables, document bson.M) {
	key, ok := document["_id"].(string)
	if !ok {
		key = fmt.Sprint(document["_id"])
	}
	own := t.sight(key, "", document)
	for _, items := range inside {
		field := items.spec.Embed.Field
		switch held := document[field].(type) {
		case nil:
		case bson.M:
			for item, value := range held {
				items.see(items.itemSight(item, key, value))
			}
		default:
			own.malformed = fmt.Sprintf("%s is a %T and no document", field, held)
		}
	}
	t.see(own)
}

// itemSight makes the record of one member of the map of items.
func (l *layout) itemSight(key, parent string, value any) sight {
	item, ok := value.(bson.M)
	if !ok {
		malformed := fmt.Sprintf("a %T and no document", value)
		return sight{key: key, record: record{parent: parent}, malformed: malformed}
	}
	return l.sight(key, parent, item)
}

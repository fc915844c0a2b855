package tracker

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
)

func encode(t testing.TB, document bson.D) bson.Raw {
	t.Helper()
	raw, err := bson.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func updated(id string, fields bson.D) bson.D {
	return bson.D{
		{Key: "operationType", Value: "update"},
		{Key: "documentKey", Value: bson.D{{Key: "_id", Value: id}}},
		{Key: "updateDescription", Value: bson.D{{Key: "updatedFields", Value: fields},
			{Key: "removedFields", Value: bson.A{}}}},
	}
}

func TestInEvent(t *testing.T) {
	t.Parallel()
	item := func(version int64) bson.D {
		return bson.D{{Key: "quantity", Value: 1}, {Key: "labVersion", Value: version}}
	}
	grave := bson.D{{Key: "cdcMetadata", Value: bson.D{{Key: "deleted", Value: true}}},
		{Key: "labVersion", Value: int64(4)}}
	for name, test := range map[string]struct {
		event bson.D
		want  []sighting
	}{
		"insert": {bson.D{{Key: "operationType", Value: "insert"},
			{Key: "fullDocument", Value: bson.D{
				{Key: "_id", Value: "c"}, {Key: "labVersion", Value: int64(7)}}}},
			[]sighting{{"c", 7, false}}},
		"a tombstone of an unknown row": {bson.D{{Key: "fullDocument", Value: bson.D{
			{Key: "_id", Value: "c"}, {Key: "cdcMetadata",
				Value: bson.D{{Key: "deleted", Value: true}}}}}}, []sighting{{"c", 0, true}}},
		"a shell": {bson.D{{Key: "fullDocument",
			Value: bson.D{{Key: "_id", Value: "o"},
				{Key: "cdcMetadata", Value: bson.D{{Key: "shell", Value: true}}},
				{Key: "items", Value: bson.D{
					{Key: "i", Value: item(3)}, {Key: "j", Value: grave}}}}}},
			[]sighting{{"i", 3, false}, {"j", 4, true}, {"o", 0, false}}},
		"update": {updated("c",
			bson.D{{Key: "labVersion", Value: int64(8)}, {Key: "status", Value: "x"}}),
			[]sighting{{"c", 8, false}}},
		"delete": {updated("c",
			bson.D{{Key: "cdcMetadata", Value: bson.D{{Key: "deleted", Value: true}}}}),
			[]sighting{{"c", 0, true}}},
		"delete, by members": {updated("c", bson.D{{Key: "cdcMetadata.deleted", Value: true}}),
			[]sighting{{"c", 0, true}}},
		"narrow number": {updated("c", bson.D{{Key: "labVersion", Value: int32(8)}}),
			[]sighting{{"c", 8, false}}},
		"first item": {updated("o",
			bson.D{{Key: "items", Value: bson.D{{Key: "i", Value: item(9)}}}}),
			[]sighting{{"i", 9, false}, {"o", 0, false}}},
		"new item": {updated("o", bson.D{{Key: "items.i", Value: item(9)}}),
			[]sighting{{"i", 9, false}, {"o", 0, false}}},
		"item tombstone": {updated("o", bson.D{{Key: "items.j", Value: grave}}),
			[]sighting{{"j", 4, true}, {"o", 0, false}}},
		"an item's members": {updated("o",
			bson.D{{Key: "items.i.labVersion", Value: int64(5)},
				{Key: "items.i.quantity", Value: 2},
				{Key: "items.j.cdcMetadata.deleted", Value: true}}),
			[]sighting{{"i", 5, false}, {"j", 0, true}, {"o", 0, false}}},
		"order and its item": {updated("o",
			bson.D{{Key: "labVersion", Value: int64(6)}, {Key: "items.i", Value: item(9)}}),
			[]sighting{{"i", 9, false}, {"o", 6, false}}},
		"nothing of ours": {bson.D{{Key: "operationType", Value: "drop"}}, nil},
		"another kind of _id": {bson.D{{Key: "fullDocument", Value: bson.D{
			{Key: "_id", Value: bson.NewObjectID()}, {Key: "labVersion", Value: int64(7)}}}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := inEvent(encode(t, test.event))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(sighting{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzInEvent(f *testing.F) {
	f.Add([]byte(encode(f, updated("o", bson.D{{Key: "items.i.labVersion", Value: int64(5)}}))))
	f.Add([]byte(encode(f, bson.D{{Key: "fullDocument", Value: bson.D{{Key: "_id", Value: "c"}}}})))
	f.Fuzz(func(t *testing.T, event []byte) {
		_, _ = inEvent(event) // must not panic
	})
}

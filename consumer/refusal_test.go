package consumer

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/drivertest"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/xoptions"

	"github.com/cdclab/cdclab/consumer/entity"
)

func TestClassifyMongo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		want fate
	}{
		"not primary":           {mongo.CommandError{Code: 10107, Name: "NotWritablePrimary"}, later},
		"network":               {mongo.CommandError{Labels: []string{"NetworkError"}}, later},
		"majority not reached":  {mongo.WriteConcernError{Code: 64}, later},
		"disk full":             {mongo.WriteError{Code: 14031}, later},
		"timeout":               {context.DeadlineExceeded, later},
		"other unique index":    {mongo.WriteError{Code: 11000}, reject},
		"schema":                {mongo.WriteError{Code: 121}, reject},
		"grows above the limit": {mongo.WriteError{Code: 17419}, reject},
		"no permission":         {fmt.Errorf("x: %w", mongo.CommandError{Code: 13}), stop},
		"wrong password":        {mongo.CommandError{Code: 18}, stop},
	} {
		if got := fateOf(classifyMongo(c.err)); got != c.want {
			t.Errorf("%s: fate %v, want %v", name, got, c.want)
		}
	}
	if err := classifyMongo(nil); err != nil {
		t.Errorf("no error became %v", err)
	}
}

func TestDuplicateID(t *testing.T) {
	t.Parallel()
	pattern := func(key string) bson.Raw {
		raw, err := bson.Marshal(bson.M{"keyPattern": bson.M{key: 1}})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"by pattern":      {mongo.WriteError{Code: 11000, Raw: pattern("_id")}, true},
		"other pattern":   {mongo.WriteError{Code: 11000, Raw: pattern("email"), Message: "index: _id_"}, false},
		"by message":      {mongo.WriteError{Code: 11000, Message: "E11000 ... index: _id_ dup key"}, true},
		"other message":   {mongo.WriteError{Code: 11000, Message: "E11000 ... index: email_1 dup key"}, false},
		"other error":     {mongo.WriteError{Code: 121, Raw: pattern("_id")}, false},
		"no server error": {errors.New("E11000 index: _id_"), false},
		"none":            {nil, false},
	} {
		if got := duplicateID(c.err); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestRacedInsert: another writer made the document between the server's look and its insert. That says
// nothing of age: the update that follows does. The stand-ins have no such moment.
func TestRacedInsert(t *testing.T) {
	t.Parallel()
	duplicate := bson.D{{Key: "ok", Value: 1}, {Key: "n", Value: 0}, {Key: "writeErrors", Value: bson.A{bson.D{
		{Key: "index", Value: 0}, {Key: "code", Value: duplicateKey}, {Key: "errmsg", Value: "E11000"},
		{Key: "keyPattern", Value: bson.D{{Key: "_id", Value: 1}}}}}}}
	for found, want := range []string{OutcomeStale, OutcomeApplied} {
		server := drivertest.NewMockDeployment(duplicate, bson.D{{Key: "ok", Value: 1}, {Key: "n", Value: found}})
		o := options.Client()
		if err := xoptions.SetInternalClientOptions(o, "deployment", server); err != nil {
			t.Fatal(err)
		}
		client, err := mongo.Connect(o)
		if err != nil {
			t.Fatal(err)
		}
		m := &mongoStore{client: client, database: client.Database("lab"), registry: entity.Default(),
			prepared: map[string]bool{"orders/order": true}}
		m.buffers.New = func() any { return new([]byte) }
		step(t, m, []string{want}, row("a", 2, insert))
	}
}

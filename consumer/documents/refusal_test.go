package documents

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/drivertest"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/xoptions"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

func TestClassifyMongo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		want fate.Fate
	}{
		"not primary": {mongo.CommandError{Code: 10107, Name: "NotWritablePrimary"},
			fate.Later},
		"network":               {mongo.CommandError{Labels: []string{"NetworkError"}}, fate.Later},
		"majority not reached":  {mongo.WriteConcernError{Code: 64}, fate.Later},
		"disk full":             {mongo.WriteError{Code: 14031}, fate.Later},
		"timeout":               {context.DeadlineExceeded, fate.Later},
		"other unique index":    {mongo.WriteError{Code: 11000}, fate.Reject},
		"schema":                {mongo.WriteError{Code: 121}, fate.Reject},
		"grows above the limit": {mongo.WriteError{Code: 17419}, fate.Reject},
		"no permission":         {fmt.Errorf("x: %w", mongo.CommandError{Code: 13}), fate.Stop},
		"wrong password":        {mongo.CommandError{Code: 18}, fate.Stop},
	} {
		if got := fate.Of(classifyMongo(c.err, true)); got != c.want {
			t.Errorf("%s: fate %v, want %v", name, got, c.want)
		}
	}
	if err := classifyMongo(nil, true); err != nil {
		t.Errorf("no error became %v", err)
	}
}

// TestWhoseFault: each of MongoDB's codes has an answer, in a write, in a command about a spec's
// collection, and in a command about the collection of a table that only a record names. Only codes
// that no record can cause end the process.
func TestWhoseFault(t *testing.T) {
	t.Parallel()
	const lastCode = 500 // of error_codes.yml's numbers in turn
	// The other numbers of error_codes.yml, and numbers of no list: of assertions in the server's
	// code, of other servers, and none.
	high := []int32{9001, 9996, 10003, 10058, 10107, 10334, 11000, 11600, 11601, 11602, 12582,
		12586, 12587, 13104, 13113, 13297, 13388, 13435, 13436, 14031, 16755, 17280, 17322, 17419,
		17420, 28769, 31082, 34747, 40413, 40414, 40415, 46841, 50768, 50915, 56846, 57986, 72970,
		91331, 640570, 640571, 1003141, 4662500, 4938500, 9737301, 9751901, 9751902, 9751903,
		10045600, 10171600, -1, 501, 3999, 4000, 8999, 16410, 31249, 40352, 51024, 99999,
		math.MaxInt32, math.MinInt32}
	document := []int32{2, 9, 14, 15, 16, 22, 28, 29, 30, 40, 52, 53, 54, 55, 56, 57, 61, 66, 111,
		116, 121, 171, 201, 241, 357, 378, 10003, 10334, 11000, 16755, 17280, 17419, 17420}
	collection := []int32{13, 73, 166}
	client := []int32{11, 18, 59, 101, 115, 148, 322, 323, 334, 352}
	codes := high
	for code := range int32(lastCode) {
		codes = append(codes, code)
	}
	for _, code := range codes {
		write, declared, named := fate.Later, fate.Later, fate.Later
		switch {
		case slices.Contains(document, code):
			write = fate.Reject
		case slices.Contains(collection, code):
			write, declared, named = fate.Reject, fate.Stop, fate.Reject
		case slices.Contains(client, code):
			write, declared, named = fate.Stop, fate.Stop, fate.Stop
		}
		command := mongo.CommandError{Code: code}
		concern := mongo.WriteConcernError{Code: int(code)}
		if got := fate.Of(classifyMongo(concern, false)); got == fate.Stop && named != fate.Stop {
			t.Errorf("%d of a write concern ends the process", code)
		}
		for place, c := range map[string]struct{ got, want fate.Fate }{
			"a write": {fate.Of(classifyMongo(mongo.WriteError{Code: int(code)},
				false)), write},
			"a spec's collection":     {fate.Of(classifyMongo(command, true)), declared},
			"a collection of records": {fate.Of(classifyMongo(command, false)), named},
		} {
			if c.got != c.want {
				t.Errorf("%d of %s: fate %v, want %v", code, place, c.got, c.want)
			}
		}
	}
}

// TestDeclared: the collections of specs and the consumer's own are matters of configuration.
func TestDeclared(t *testing.T) {
	t.Parallel()
	m := &Mongo{registry: entity.Default()}
	for collection, want := range map[string]bool{"orders": true, KeptCollection: true,
		"note": false, "": false} {
		if m.isDeclared(collection) != want {
			t.Errorf("%q is declared: %t", collection, !want)
		}
	}
}

// TestAnswersAreCut: an error names MongoDB's answer by kind and code, because the server's words
// may quote the command. Words has everything, and the driver's own errors stay.
func TestAnswersAreCut(t *testing.T) {
	t.Parallel()
	const words = `not authorized on cdc to execute command { update: "customers", ` +
		`updates: [ { q: { _id: "geheim" } } ] }`
	for want, err := range map[string]error{
		"find in customers: MongoDB says Unauthorized (13)": fmt.Errorf("find in customers: %w",
			mongo.CommandError{Code: 13, Name: "Unauthorized", Message: words}),
		"MongoDB says code 14031": mongo.WriteError{Code: 14031, Message: words},
		"MongoDB says code 64": mongo.WriteException{
			WriteConcernError: &mongo.WriteConcernError{Code: 64, Message: words}},
		" connection refused": mongo.CommandError{Message: "connection refused",
			Labels: []string{"NetworkError"}},
		"context deadline exceeded": context.DeadlineExceeded,
	} {
		got := classifyMongo(err, true)
		if got.Error() != want || Words(got) != err.Error() ||
			fate.ReasonOf(got) != fate.ReasonOf(err) {
			t.Errorf("got %v, want %s; the words are %s", got, want, Words(got))
		}
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
		"by pattern": {mongo.WriteError{Code: 11000, Raw: pattern("_id")}, true},
		"other pattern": {mongo.WriteError{Code: 11000, Raw: pattern("email"),
			Message: "index: _id_"}, false},
		"by message": {mongo.WriteError{Code: 11000,
			Message: "E11000 ... index: _id_ dup key"}, true},
		"other message": {mongo.WriteError{Code: 11000,
			Message: "E11000 ... index: email_1 dup key"}, false},
		"other error":     {mongo.WriteError{Code: 121, Raw: pattern("_id")}, false},
		"no server error": {errors.New("E11000 index: _id_"), false},
		"none":            {nil, false},
	} {
		if got := duplicateID(c.err); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// mocked is a Mongo whose server gives the answers in turn.
func mocked(t *testing.T, answers ...bson.D) *Mongo {
	t.Helper()
	o := options.Client()
	server := drivertest.NewMockDeployment(answers...)
	if err := xoptions.SetInternalClientOptions(o, "deployment", server); err != nil {
		t.Fatal(err)
	}
	client, err := mongo.Connect(o)
	if err != nil {
		t.Fatal(err)
	}
	m := &Mongo{client: client, database: client.Database("lab"), registry: entity.Default(),
		prepared: map[string]bool{"orders/order": true}}
	m.buffers.New = func() any { return new([]byte) }
	return m
}

// TestUnreadableStatement: MongoDB refuses a command of three for the bytes of one. That one is
// rejected and the others are written; otherwise the partition would wait for ever.
func TestUnreadableStatement(t *testing.T) {
	t.Parallel()
	found := bson.D{{Key: "ok", Value: 1}, {Key: "n", Value: 1}}
	for _, code := range []int{15, 16, 22, 357, 378, 10334} {
		refused := bson.D{{Key: "ok", Value: 0}, {Key: "code", Value: code},
			{Key: "errmsg", Value: "no BSON: geheim"}}
		m := mocked(t, refused, found, refused, found)
		done := m.Apply(t.Context(), []Write{row("a", 1, consumertest.Insert),
			row("b", 1, consumertest.Insert), row("c", 1, consumertest.Insert)})
		if done[0].Err != nil || done[2].Err != nil || done[1].Err == nil ||
			fate.Of(done[1].Err) != fate.Reject ||
			strings.Contains(done[1].Err.Error(), "geheim") {
			t.Errorf("%d: %v, want a rejection of the second alone", code, done)
		}
	}
}

// TestRacedInsert: another writer made the document between the server's look and its insert. The
// race says nothing of age, but the following update does. The stand-ins have no such moment.
func TestRacedInsert(t *testing.T) {
	t.Parallel()
	duplicate := bson.D{{Key: "ok", Value: 1}, {Key: "n", Value: 0},
		{Key: "writeErrors", Value: bson.A{bson.D{
			{Key: "index", Value: 0}, {Key: "code", Value: duplicateKey},
			{Key: "errmsg", Value: "E11000"},
			{Key: "keyPattern", Value: bson.D{{Key: "_id", Value: 1}}}}}}}
	for found, want := range []string{telemetry.OutcomeStale, telemetry.OutcomeApplied} {
		m := mocked(t, duplicate, bson.D{{Key: "ok", Value: 1}, {Key: "n", Value: found}})
		step(t, m, []string{want}, row("a", 2, consumertest.Insert))
	}
}

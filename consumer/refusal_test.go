package consumer

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
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

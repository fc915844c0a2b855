package mongodb

import "testing"

func TestProxiedURI(t *testing.T) {
	t.Parallel()
	given := "mongodb://u:p@db.example:27017/cdc?replicaSet=rs&w=majority"
	want := "mongodb://u:p@127.0.0.1:5/cdc?directConnection=true&w=majority"
	got, err := ProxiedURI(given, "127.0.0.1:5")
	if err != nil || got != want {
		t.Errorf("got %s (%v), want %s", got, err, want)
	}
	for uri, want := range map[string]string{
		"mongodb://db.example/":        "db.example:27017",
		"mongodb://db.example:28000/x": "db.example:28000",
		"mongodb://a,b/":               "",
		"mongodb://a/?tls=true":        "",
		"http://a/":                    "",
	} {
		if host, err := SingleHost(uri); host != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %q (%v), want %q", uri, host, err, want)
		}
	}
}

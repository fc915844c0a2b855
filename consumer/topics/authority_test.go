package topics

import (
	"testing"

	"github.com/cdclab/cdclab/consumer/debezium"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		renamed, topic, name, schema, table string
		right                               bool
	}{
		{"", "cdc.public.customer", "cdc", "public", "customer", true},
		{"", "a.b.public.customer", "a.b", "public", "customer", true},
		{"", "cdc.public.My_Table", "cdc", "public", "My Table", true},
		{"", "cdc.public.caf_", "cdc", "public", "caf\u00e9", true},
		{"", "cdc.public.__", "cdc", "public", "\U0001F600", true},
		{"", "cdc.public.a.b", "cdc", "public", "a.b", true},
		{"", "cdc.public.customer", "cdc", "public", "order", false},
		{"", "cdc.public.customer", "cdc", "hr", "customer", false},
		{"", "cdc.public.customer", "other", "public", "customer", false},
		{"", "cdc.public.customer", "", "public", "customer", false},
		{"", "cdc.public.a.b", "cdc.public", "x", "b", false},
		{"", "customer", "cdc", "public", "customer", false},
		{"customer=public.customer", "customer", "cdc", "public", "customer", true},
		{"customer=public.customer", "customer", "cdc", "public", "order", false},
		{"customer=public.customer", "cdc.public.order", "cdc", "public", "order", true},
		// The pairs replace the topic's own name.
		{"cdc.public.a=public.b", "cdc.public.a", "cdc", "public", "a", false},
		{"cdc.public.a=public.b", "cdc.public.a", "cdc", "public", "b", true},
		{"shop-*=public.*", "shop-customer", "cdc", "public", "customer", true},
		{"shop-*=public.*", "shop-My_Table", "cdc", "public", "My Table", true},
		{"shop-*=public.*", "shop-customer", "cdc", "public", "order", false},
		{"shop-*=public.*", "shop-customer", "cdc", "hr", "customer", false},
		{"all=public.*", "all", "cdc", "public", "order", true},
		{"all=public.*", "all", "cdc", "hr", "order", false},
		{"all=public.a,all=hr.b", "all", "cdc", "hr", "b", true},
		{"all=public.a,all=hr.b", "all", "cdc", "hr", "a", false},
	} {
		var tables Tables
		if c.renamed != "" {
			if err := tables.Set(c.renamed); err != nil {
				t.Fatal(err)
			}
			if got := tables.String(); got != c.renamed {
				t.Errorf("%s as text is %s", c.renamed, got)
			}
		}
		err := tables.Check(c.topic,
			&debezium.Source{Name: c.name, Schema: c.schema, Table: c.table})
		if (err == nil) != c.right {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestTablesErrors(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "a", "a=b", "=a.b", "a=.b", "a=b.", "a=b.c,", "a**=b.c",
		"a=*.*"} {
		var tables Tables
		if err := tables.Set(text); err == nil {
			t.Errorf("%q is %s", text, tables.String())
		}
	}
}

package sharding_test

import (
	"testing"

	"botshard.dev/client/sharding"
)

var torch = sharding.FamilyKey{Group: "realtime", Framework: "torch"}

func BenchmarkLookup(b *testing.B) {
	table := goldenTable(b)
	b.ReportAllocs()
	for range b.N {
		if len(table.Lookup(torch, "acme-banking")) != 2 {
			b.Fatal("not found")
		}
	}
}

func BenchmarkLookupHash(b *testing.B) {
	table, hash := goldenTable(b), sharding.BotHash("acme-banking")
	b.ReportAllocs()
	for range b.N {
		if len(table.LookupHash(torch, hash)) != 2 {
			b.Fatal("not found")
		}
	}
}

func BenchmarkDecodeTable(b *testing.B) {
	data := read(b, "golden", "table.json")
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for range b.N {
		if _, err := sharding.DecodeTable(data); err != nil {
			b.Fatal(err)
		}
	}
}

func TestALookupAllocatesNothing(t *testing.T) {
	table := goldenTable(t)
	if got := testing.AllocsPerRun(1000, func() { table.Lookup(torch, "acme-banking") }); got >= 1 {
		t.Errorf("%v allocations a lookup", got)
	}
}

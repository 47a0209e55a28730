package sharding_test

import (
	"fmt"
	"strings"
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
	data := bigTable(64, 8, 7)
	b.SetBytes(int64(len(data)))
	for range b.N {
		if _, err := sharding.DecodeTable(data); err != nil {
			b.Fatal(err)
		}
	}
}

// bigTable is a table with that many families, pools a family, and bits.
func bigTable(families, pools, bits int) []byte {
	var all []string
	for f := range families {
		var listed, rows []string
		for p := range pools {
			listed = append(listed, fmt.Sprintf(`{"name":"pool-%d-%d","url":"http://pool-%d-%d.bots.example:8080"}`, f, p, f, p))
		}
		for shard := range 1 << bits {
			rows = append(rows, fmt.Sprintf("[%d,%d]", shard%pools, (shard+1+shard/pools%(pools-1))%pools))
		}
		all = append(all, fmt.Sprintf(`{"group":"g","framework":"torch","pin":"%d","bits":%d,"pools":[%s],"shards":[%s]}`,
			f, bits, strings.Join(listed, ","), strings.Join(rows, ",")))
	}
	return []byte(`{"format":"botshard.table/v1","epoch":1,"groups":{"g":{"realtime":true,"requestTimeoutS":1,` +
		`"coldStartTimeoutS":1}},"families":[` + strings.Join(all, ",") + "]}")
}

func TestALookupAllocatesNothing(t *testing.T) {
	table := goldenTable(t)
	if got := testing.AllocsPerRun(1000, func() { table.Lookup(torch, "acme-banking") }); got >= 1 {
		t.Errorf("%v allocations a lookup", got)
	}
}

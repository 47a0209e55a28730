package sharding_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"botshard.dev/client/sharding"
)

const testsOfTheRepository = "../../../tests"

func read(t testing.TB, parts ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(append([]string{testsOfTheRepository}, parts...)...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// golden is the vectors of one file.
func golden[V any](t testing.TB, file string) []V {
	t.Helper()
	var vectors []V
	if err := json.Unmarshal(read(t, "golden", file), &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) == 0 {
		t.Fatalf("no vectors in %s", file)
	}
	return vectors
}

func goldenTable(t testing.TB) *sharding.Table {
	t.Helper()
	table, err := sharding.DecodeTable(read(t, "golden", "table.json"))
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func names(pools []sharding.Pool) []string {
	all := []string{}
	for _, pool := range pools {
		all = append(all, pool.Name)
	}
	return all
}

type familyVector struct{ Group, Framework, Backbone, Pin, FamilyID string }

func (v familyVector) key() sharding.FamilyKey {
	return sharding.FamilyKey{Group: v.Group, Framework: v.Framework, Backbone: v.Backbone, Pin: v.Pin}
}

func TestHashesOfBots(t *testing.T) {
	type vector struct {
		ID, Hash, CatalogObject string
		Shards                  map[string]uint32
	}
	for _, want := range golden[vector](t, "bots.json") {
		hash := sharding.BotHash(want.ID)
		if got := fmt.Sprintf("%016x", hash); got != want.Hash {
			t.Errorf("BotHash(%q) = %s, want %s", want.ID, got, want.Hash)
		}
		if got := sharding.CatalogObject(hash); got != "catalog/"+want.CatalogObject+".json" {
			t.Errorf("CatalogObject of %q = %s, want %s", want.ID, got, want.CatalogObject)
		}
		for text, shard := range want.Shards {
			bits, _ := strconv.Atoi(text)
			if got := sharding.Shard(hash, bits); got != shard {
				t.Errorf("Shard of %q with %d bits = %d, want %d", want.ID, bits, got, shard)
			}
		}
	}
}

func TestIDsOfFamilies(t *testing.T) {
	for _, want := range golden[familyVector](t, "families.json") {
		if got := want.key().ID(); got != want.FamilyID {
			t.Errorf("%+v.ID() = %s, want %s", want.key(), got, want.FamilyID)
		}
	}
}

func TestNamesOfPools(t *testing.T) {
	type vector struct {
		Group, FamilyID, Name string
		Ordinal               uint64
	}
	for _, want := range golden[vector](t, "pools.json") {
		if got := sharding.PoolName(want.Group, want.FamilyID, want.Ordinal); got != want.Name {
			t.Errorf("PoolName(%s, %s, %d) = %s, want %s", want.Group, want.FamilyID, want.Ordinal, got, want.Name)
		}
	}
}

func TestOrdersOfPools(t *testing.T) {
	type vector struct {
		Shard        uint32
		Bits         int
		Pools, Order []string
	}
	for _, want := range golden[vector](t, "orders.json") {
		asked := slices.Clone(want.Pools)
		slices.Reverse(asked)
		if got := sharding.Order(want.Shard, want.Bits, asked); !slices.Equal(got, want.Order) {
			t.Errorf("Order(%d, %d) = %v, want %v", want.Shard, want.Bits, got, want.Order)
		}
	}
}

func TestLookups(t *testing.T) {
	table := goldenTable(t)
	type vector struct {
		familyVector
		ID                string
		Shard             *uint32
		Routed, Answering []string
	}
	for _, want := range golden[vector](t, "lookups.json") {
		key, hash := want.key(), sharding.BotHash(want.ID)
		pools := table.Lookup(key, want.ID)
		if got := names(pools); !slices.Equal(got, want.Routed) {
			t.Errorf("Lookup(%+v, %q) = %v, want %v", key, want.ID, got, want.Routed)
		}
		for _, pool := range pools {
			if url := "http://" + pool.Name + ".bots.example:8080"; pool.URL != url {
				t.Errorf("URL of %s = %s, want %s", pool.Name, pool.URL, url)
			}
		}
		if got := names(table.Answering(key, hash)); !slices.Equal(got, want.Answering) {
			t.Errorf("Answering(%+v, %q) = %v, want %v", key, want.ID, got, want.Answering)
		}
		shard, known := table.Shard(key, hash)
		if known != (want.Shard != nil) || known && shard != *want.Shard {
			t.Errorf("Shard(%+v, %q) = %d, %v", key, want.ID, shard, known)
		}
	}
}

func TestEpochAndGroupsOfTheTable(t *testing.T) {
	table := goldenTable(t)
	if table.Epoch() != 42 {
		t.Errorf("Epoch() = %d, want 42", table.Epoch())
	}
	want := sharding.Group{Realtime: true, RequestTimeoutS: 2.5, ColdStartTimeoutS: 10}
	if got, ok := table.Group("realtime"); !ok || got != want {
		t.Errorf("Group(realtime) = %+v, %v, want %+v", got, ok, want)
	}
	if _, ok := table.Group("other"); ok {
		t.Error("the table has a group other")
	}
}

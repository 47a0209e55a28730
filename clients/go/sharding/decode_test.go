package sharding_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"botshard.dev/client/sharding"
)

type change struct{ Claim, Replace, With, Field string }

func (c change) apply(table string) []byte {
	return []byte(strings.Replace(table, c.Replace, c.With, 1))
}

type documents struct {
	Table             string
	Refused, Accepted []change
}

func readDocuments(t testing.TB) (all documents) {
	t.Helper()
	if err := json.Unmarshal(read(t, "clients", "documents.json"), &all); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestRefusesWholeWithTheField(t *testing.T) {
	all := readDocuments(t)
	for _, change := range all.Refused {
		t.Run(change.Claim, func(t *testing.T) { refuses(t, change.apply(all.Table), change.Field) })
	}
	// Which JSON in a file of JSON cannot hold, or only at length.
	for claim, data := range map[string][]byte{
		"not UTF-8":  bytes.Replace([]byte(all.Table), []byte("pool-c"), []byte("pool-\xff"), 1),
		"UTF-16":     []byte("\xff\xfe{\x00}\x00"),
		"deep lists": []byte(strings.Repeat("[", 200_000)),
		"no bytes":   nil,
	} {
		t.Run(claim, func(t *testing.T) { refuses(t, data, "") })
	}
}

func refuses(t *testing.T, data []byte, field string) {
	t.Helper()
	table, err := sharding.DecodeTable(data)
	var refused *sharding.DocumentError
	if !errors.As(err, &refused) || table != nil {
		t.Fatalf("accepted: %v", err)
	}
	if refused.Field != field {
		t.Errorf("field %q, want %q (%v)", refused.Field, field, err)
	}
	if len(err.Error()) > 500 || strings.ContainsAny(err.Error(), "\n\r\x00") {
		t.Errorf("no message for one line of a log: %q", err.Error())
	}
}

func TestAcceptsEveryWayToWriteIt(t *testing.T) {
	all := readDocuments(t)
	for _, change := range all.Accepted {
		t.Run(change.Claim, func(t *testing.T) {
			if _, err := sharding.DecodeTable(change.apply(all.Table)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestRefusesEveryTruncation(t *testing.T) {
	data := read(t, "golden", "table.json")
	for length := range data {
		refuses(t, data[:length], "")
	}
}

func TestAnAppendByACallerDoesNotReachTheTable(t *testing.T) {
	table := goldenTable(t)
	key := sharding.FamilyKey{Group: "realtime", Framework: "torch"}
	want := names(table.Lookup(key, "acme-banking"))
	_ = append(table.Lookup(key, "acme-banking")[:1:1], sharding.Pool{Name: "other"})
	_ = append(table.Lookup(key, "acme-banking"), sharding.Pool{Name: "other"})
	if got := names(table.Lookup(key, "acme-banking")); !slices.Equal(got, want) {
		t.Errorf("%v became %v", want, got)
	}
}

func TestTheZeroTableKnowsNoPool(t *testing.T) {
	var table sharding.Table
	if pools := table.Lookup(sharding.FamilyKey{Group: "g", Framework: "f"}, "bot"); len(pools) != 0 {
		t.Errorf("found %v", pools)
	}
}

func TestAskingForAShardThatIsNotPanics(t *testing.T) {
	for claim, ask := range map[string]func(){
		"21 bits":       func() { sharding.Shard(0, 21) },
		"bits below 0":  func() { sharding.Shard(0, -1) },
		"shard 2 of 1":  func() { sharding.Order(2, 1, nil) },
		"order of bits": func() { sharding.Order(0, 21, nil) },
	} {
		t.Run(claim, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			ask()
		})
	}
}

func FuzzDecodeTable(f *testing.F) {
	all := readDocuments(f)
	f.Add(read(f, "golden", "table.json"))
	for _, change := range append(all.Refused, all.Accepted...) {
		f.Add(change.apply(all.Table))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		table, err := sharding.DecodeTable(data)
		var refused *sharding.DocumentError
		if err != nil {
			if !errors.As(err, &refused) {
				t.Fatalf("refused with %T", err)
			}
			return
		}
		var again struct {
			Epoch    int64
			Families []struct{ Group, Framework, Backbone, Pin string }
		}
		if err := json.Unmarshal(data, &again); err != nil {
			t.Fatal(err)
		}
		if table.Epoch() != again.Epoch {
			t.Fatalf("epoch %d, want %d", table.Epoch(), again.Epoch)
		}
		for _, key := range again.Families {
			for _, hash := range []uint64{0, 1 << 63, 1<<64 - 1} {
				if len(table.LookupHash(sharding.FamilyKey(key), hash)) == 0 {
					t.Fatalf("no pool for %x in %v", hash, key)
				}
			}
		}
	})
}

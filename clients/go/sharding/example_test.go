package sharding_test

import (
	"fmt"
	"os"

	"botshard.dev/client/sharding"
)

func ExampleTable_Lookup() {
	data, err := os.ReadFile("../../../tests/golden/table.json")
	if err != nil {
		panic(err)
	}
	table, err := sharding.DecodeTable(data)
	if err != nil {
		panic(err)
	}
	family := sharding.FamilyKey{Group: "realtime", Framework: "torch"}
	for _, pool := range table.Lookup(family, "acme-banking") {
		fmt.Println(pool.URL)
	}
	// Output:
	// http://realtime-torch-8f25fe36-02c31a.bots.example:8080
	// http://realtime-torch-8f25fe36-d6299b.bots.example:8080
}

func ExampleDecodeTable() {
	_, err := sharding.DecodeTable([]byte(`{"format": "botshard.table/v1", "epoch": 1.0, "groups": {}, "families": []}`))
	fmt.Println(err)
	// Output: routing table: epoch: found 1.0, expected a whole number from 1 to 9223372036854775807
}

func ExampleBotHash() {
	hash := sharding.BotHash("acme-banking")
	fmt.Printf("%016x %s %d\n", hash, sharding.CatalogObject(hash), sharding.Shard(hash, 4))
	// Output: a2a49fa51cce54ef catalog/a2.json 10
}

func ExampleFamilyKey_ID() {
	fmt.Println(sharding.FamilyKey{Group: "realtime", Framework: "torch", Backbone: "minilm"}.ID())
	// Output: torch-4960768e
}

func ExamplePoolName() {
	fmt.Println(sharding.PoolName("realtime", "torch-8f25fe36", 0))
	// Output: realtime-torch-8f25fe36-bc75b8
}

func ExampleOrder() {
	pools := []string{"realtime-torch-8f25fe36-02c31a", "realtime-torch-8f25fe36-6d013e", "realtime-torch-8f25fe36-bc75b8"}
	fmt.Println(sharding.Order(1, 1, pools)[0])
	// Output: realtime-torch-8f25fe36-bc75b8
}

// Command lookup answers questions about placement: one JSON object a line on standard input, one on standard output.
//
//	lookup [TABLE]
//
// TABLE is a file with a routing table. Without it, or to change it, a line {"table": "<base64>"} puts one in force; a
// table that is refused leaves the old one there. Questions and answers:
//
//	{"id": …, "group": …, "framework": …, "backbone": …, "pin": …}
//	    → {"hash": …, "familyId": …, "shard": …, "pools": [{"name": …, "url": …}, …], "answering": [name, …]}
//	{"pool": {"group": …, "familyId": …, "ordinal": …}}       → {"name": …}
//	{"order": {"shard": …, "bits": …, "pools": [name, …]}}    → {"order": [name, …]}
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"botshard.dev/client/sharding"
)

type question struct {
	Table *[]byte `json:"table"`
	Pool  *struct {
		Group    string `json:"group"`
		FamilyID string `json:"familyId"`
		Ordinal  uint64 `json:"ordinal"`
	} `json:"pool"`
	Order *struct {
		Shard uint32   `json:"shard"`
		Bits  int      `json:"bits"`
		Pools []string `json:"pools"`
	} `json:"order"`
	ID        *string `json:"id"`
	Group     string  `json:"group"`
	Framework string  `json:"framework"`
	Backbone  string  `json:"backbone"`
	Pin       string  `json:"pin"`
}

type pool struct {
	Name string `json:"name"`
	URL  string `json:"url"`
}

type place struct {
	Hash      string   `json:"hash"`
	FamilyID  string   `json:"familyId"`
	Shard     *uint32  `json:"shard"`
	Pools     []pool   `json:"pools"`
	Answering []string `json:"answering"`
}

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "lookup:", err)
		os.Exit(1)
	}
}

func run(arguments []string, in io.Reader, out io.Writer) error {
	table := &sharding.Table{}
	if len(arguments) > 0 {
		data, err := os.ReadFile(arguments[0])
		if err != nil {
			return err
		}
		if table, err = sharding.DecodeTable(data); err != nil {
			return err
		}
	}
	lines, answers := bufio.NewReader(in), bufio.NewWriter(out)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			if err := json.NewEncoder(answers).Encode(answer(line, &table)); err != nil {
				return err
			}
			// Whoever asks one by one is not left waiting; a batch is answered in few writes.
			if lines.Buffered() == 0 {
				if err := answers.Flush(); err != nil {
					return err
				}
			}
		}
		if errors.Is(err, io.EOF) {
			return answers.Flush()
		}
		if err != nil {
			return err
		}
	}
}

func answer(line []byte, table **sharding.Table) (reply any) {
	var asked question
	if err := json.Unmarshal(line, &asked); err != nil {
		return map[string]string{"error": err.Error()}
	}
	switch {
	case asked.Table != nil:
		next, err := sharding.DecodeTable(*asked.Table)
		var refused *sharding.DocumentError
		if errors.As(err, &refused) {
			return map[string]string{"refused": refused.Field, "problem": refused.Error()}
		}
		*table = next
		return map[string]string{"epoch": strconv.FormatInt(next.Epoch(), 10)}
	case asked.Pool != nil:
		return map[string]string{"name": sharding.PoolName(asked.Pool.Group, asked.Pool.FamilyID, asked.Pool.Ordinal)}
	case asked.Order != nil:
		if bits := asked.Order.Bits; bits < 0 || bits > sharding.MaxShardBits || asked.Order.Shard>>bits != 0 {
			return map[string]string{"error": "there is no such shard"}
		}
		return map[string][]string{"order": sharding.Order(asked.Order.Shard, asked.Order.Bits, asked.Order.Pools)}
	case asked.ID != nil:
		return placeOf(*asked.ID, sharding.FamilyKey{
			Group: asked.Group, Framework: asked.Framework, Backbone: asked.Backbone, Pin: asked.Pin,
		}, *table)
	}
	return map[string]string{"error": "a question has one of table, id, pool and order"}
}

func placeOf(botID string, family sharding.FamilyKey, table *sharding.Table) place {
	hash := sharding.BotHash(botID)
	found := place{Hash: fmt.Sprintf("%016x", hash), FamilyID: family.ID(), Pools: []pool{}, Answering: []string{}}
	if shard, ok := table.Shard(family, hash); ok {
		found.Shard = &shard
	}
	for _, one := range table.LookupHash(family, hash) {
		found.Pools = append(found.Pools, pool{one.Name, one.URL})
	}
	for _, one := range table.Answering(family, hash) {
		found.Answering = append(found.Answering, one.Name)
	}
	return found
}

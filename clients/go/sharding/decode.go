package sharding

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
)

const tableFormat = "botshard.table/v1"

var (
	groupName = shape{regexp.MustCompile(`^[a-z]([a-z0-9-]{0,22}[a-z0-9])?$`),
		"1 to 24 lower case letters, digits or '-', a letter first, no '-' last"}
	frameworkName = shape{regexp.MustCompile(`^[a-z][a-z0-9]{0,11}$`),
		"1 to 12 lower case letters or digits, a letter first"}
	label = shape{regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`),
		"1 to 63 letters, digits, '.', '_' or '-', a letter or digit first"}
	poolName = shape{regexp.MustCompile(`^[a-z]([a-z0-9-]{0,51}[a-z0-9])?$`),
		"1 to 53 lower case letters, digits or '-', a letter first, no '-' last"}
	poolURL = shape{regexp.MustCompile(`^https?://[!-.0-~]([!-~]*[!-.0-~])?$`),
		"an http or https URL without a slash at its end"}
	routePolicy = shape{regexp.MustCompile(`^(first|least-outstanding|response-time|device-memory)$`),
		"one of first, least-outstanding, response-time, device-memory"}
	shardKey = regexp.MustCompile(`^(0|[1-9][0-9]{0,6})$`)
)

// DecodeTable reads a routing table. A table in which anything is missing, unknown, out of range or twice is refused
// whole, with a [*DocumentError] that names the field.
func DecodeTable(data []byte) (*Table, error) {
	document, err := parse(data)
	if err != nil {
		found := fmt.Sprintf("%d bytes (%v)", len(data), err)
		return nil, &DocumentError{"", found, "one JSON object in UTF-8, whole"}
	}
	d := decoding{problem: &problem{}, table: &Table{groups: map[string]Group{}, families: map[FamilyKey]*family{}},
		familyIDs: map[string]bool{}, poolOwners: map[string]string{}}
	d.read(d.object("", document))
	if d.first != nil {
		return nil, d.first
	}
	return d.table, nil
}

// decoding is a table on its way, with what must be told apart over the whole of it.
type decoding struct {
	*problem
	table      *Table
	familyIDs  map[string]bool
	poolOwners map[string]string // pool → the family that named it first
}

func (d *decoding) read(top fields) {
	if top.values["format"] != tableFormat {
		d.refuse("format", top.values["format"], tableFormat)
		return // every other problem would only follow from that
	}
	top.only("format", "epoch", "groups", "families")
	d.table.epoch = top.integer("epoch", 1, math.MaxInt64)
	groups := top.member("groups")
	for _, name := range groups.keys {
		group := groups.member(name)
		if !groupName.pattern.MatchString(name) {
			d.refuse(group.path, name, groupName.expected)
		}
		group.only("realtime", "requestTimeoutS", "coldStartTimeoutS", "policy")
		d.table.groups[name] = Group{
			Realtime:          group.boolean("realtime"),
			RequestTimeoutS:   group.number("requestTimeoutS", 0.001),
			ColdStartTimeoutS: group.number("coldStartTimeoutS", 0),
			Policy:            group.optionalText("policy", routePolicy),
		}
	}
	for i, entry := range top.list("families") {
		d.readFamily(d.object(fmt.Sprintf("families[%d]", i), entry))
		if d.first != nil {
			return // what is left of a broken family would be indexed by the next checks
		}
	}
}

func (d *decoding) readFamily(entry fields) {
	entry.only("group", "framework", "backbone", "pin", "bits", "pools", "shards", "targets", "lingering")
	key := FamilyKey{
		Group:     entry.text("group", groupName),
		Framework: entry.text("framework", frameworkName),
		Backbone:  entry.optionalText("backbone", label),
		Pin:       entry.optionalText("pin", label),
	}
	if _, ok := d.table.groups[key.Group]; !ok {
		d.refuse(entry.at("group"), key.Group, "a group of this table")
	}
	if id := key.ID(); d.familyIDs[id] {
		d.refuse(entry.path, id, "a family whose id is not in the table already")
	} else {
		d.familyIDs[id] = true
	}
	bits := int(entry.integer("bits", 0, MaxShardBits))
	rows := rows{problem: d.problem, pools: d.readPools(entry), known: map[string][]Pool{}}
	read := &family{bits: bits}
	if lists := entry.list("shards"); len(lists) == 1<<bits {
		read.shards = make([][]Pool, len(lists))
		for i, list := range lists {
			read.shards[i] = rows.read(fmt.Sprintf("%s[%d]", entry.at("shards"), i), list)
		}
	} else {
		d.refuse(entry.at("shards"), json.Number(strconv.Itoa(len(lists))),
			fmt.Sprintf("%d lists of indices, since bits is %d", 1<<bits, bits))
	}
	read.targets = d.readMoves(entry, "targets", bits, rows, "since", func(move fields) bool {
		return move.integer("since", 0, d.table.epoch) > 0 // 0: planned, and its pools do not answer yet
	})
	read.lingering = d.readMoves(entry, "lingering", bits, rows, "untilS", func(move fields) bool {
		move.number("untilS", 0)
		return true
	})
	d.table.families[key] = read
}

func (d *decoding) readPools(entry fields) []Pool {
	var pools []Pool
	for i, item := range entry.list("pools") {
		path := fmt.Sprintf("%s[%d]", entry.at("pools"), i)
		pool := d.object(path, item)
		pool.only("name", "url")
		read := Pool{pool.text("name", poolName), pool.text("url", poolURL)}
		if owner, twice := d.poolOwners[read.Name]; twice {
			d.refuse(pool.at("name"), read.Name, "a pool that does not stand in "+owner+" already")
		}
		d.poolOwners[read.Name] = entry.path
		pools = append(pools, read)
	}
	return pools
}

func (d *decoding) readMoves(
	entry fields, name string, bits int, rows rows, when string, answer func(fields) bool,
) map[uint32][]Pool {
	if _, present := entry.values[name]; !present {
		return nil
	}
	moves := entry.member(name)
	read := make(map[uint32][]Pool, len(moves.keys))
	for _, text := range moves.keys {
		move := moves.member(text)
		shard, err := strconv.Atoi(text)
		if !shardKey.MatchString(text) || err != nil || shard >= 1<<bits {
			d.refuse(move.path, text, fmt.Sprintf("a shard from 0 to %d", 1<<bits-1))
			continue
		}
		move.only("pools", when)
		pools := rows.read(move.at("pools"), move.values["pools"])
		if answer(move) {
			read[uint32(shard)] = pools
		}
	}
	return read
}

// rows reads lists of indices of one family's pools.
type rows struct {
	*problem
	pools []Pool
	known map[string][]Pool // a list of indices as text → its pools
}

func (r rows) read(path string, value any) []Pool {
	list, ok := value.([]any)
	ok = ok && len(list) > 0 && len(list) <= len(r.pools)
	var indices []int
	var text []byte
	for _, item := range list {
		index, isWhole := whole(item)
		if !ok || !isWhole || index < 0 || index >= int64(len(r.pools)) || slices.Contains(indices, int(index)) {
			ok = false
			break
		}
		indices = append(indices, int(index))
		text = append(strconv.AppendInt(text, index, 10), ',')
	}
	if !ok {
		expected := fmt.Sprintf("a list of different indices of the %d pools, at least one", len(r.pools))
		r.refuse(path, value, expected)
		return nil
	}
	pools := r.known[string(text)]
	if pools == nil {
		for _, index := range indices {
			pools = append(pools, r.pools[index])
		}
		// Without spare room an append by a caller copies, and cannot reach into the table.
		pools = slices.Clip(pools)
		r.known[string(text)] = pools
	}
	return pools
}

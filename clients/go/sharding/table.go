package sharding

// Pool is a pool as a router sees it.
type Pool struct {
	Name string
	URL  string // http:// or https://, without a slash at the end
}

// Group is what a router must know of a pool group.
type Group struct {
	Realtime          bool    // ask the least loaded pool of a shard, not the first
	RequestTimeoutS   float64 // seconds a request may take
	ColdStartTimeoutS float64 // seconds more where its pool starts from zero
	Policy            string  // by what a pool of a shard is chosen; empty: as Realtime says
}

// Table is a routing table: one placement as published. It never changes and may be used by any number of goroutines.
// The zero value is a table in which no bot has a pool.
type Table struct {
	epoch    int64
	groups   map[string]Group
	families map[FamilyKey]*family
}

type family struct {
	bits      int
	shards    [][]Pool // shards with equal pools share one slice
	targets   map[uint32][]Pool
	lingering map[uint32][]Pool
}

// Epoch counts published tables, from 1. Of two tables the one with the smaller epoch is to be refused.
func (t *Table) Epoch() int64 { return t.epoch }

// Group is the pool group of that name; false if the table has none.
func (t *Table) Group(name string) (Group, bool) {
	group, ok := t.groups[name]
	return group, ok
}

// Lookup is the pools to ask for a bot, best first; empty while its family has no pool.
//
// The slice is the table's own, so that a lookup allocates nothing: do not write to it.
func (t *Table) Lookup(family FamilyKey, botID string) []Pool {
	return t.LookupHash(family, BotHash(botID))
}

// LookupHash is [Table.Lookup] for a bot whose [BotHash] is at hand.
func (t *Table) LookupHash(family FamilyKey, botHash uint64) []Pool {
	found := t.families[family]
	if found == nil {
		return nil
	}
	return found.shards[Shard(botHash, found.bits)]
}

// Shard is the bot's shard in its family; false if the table does not have the family.
func (t *Table) Shard(family FamilyKey, botHash uint64) (uint32, bool) {
	found := t.families[family]
	if found == nil {
		return 0, false
	}
	return Shard(botHash, found.bits), true
}

// Answering is every pool that answers for a bot, each once: those of [Table.LookupHash], those that its shard is on
// its way to, and those that it has just left. Any other pool refuses with 421, also one that a move is only planned to.
func (t *Table) Answering(family FamilyKey, botHash uint64) []Pool {
	found := t.families[family]
	if found == nil {
		return nil
	}
	shard := Shard(botHash, found.bits)
	var all []Pool
	seen := map[string]bool{}
	for _, pools := range [][]Pool{found.shards[shard], found.targets[shard], found.lingering[shard]} {
		for _, pool := range pools {
			if !seen[pool.Name] {
				seen[pool.Name] = true
				all = append(all, pool)
			}
		}
	}
	return all
}

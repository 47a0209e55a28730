package sharding

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/crypto/blake2b"
)

const (
	// MaxShardBits is the most bits of a hash that make a shard.
	MaxShardBits = 20

	hashBits  = 64
	hashBytes = hashBits / 8
)

var (
	botHashes    = keyed("botshard.bot.v1")
	familyHashes = keyed("botshard.family.v1")
	poolHashes   = keyed("botshard.pool.v1")
	orderHashes  = keyed("botshard.order.v1")
)

// hashing is one hash on its way, with the buffers that it needs.
type hashing struct {
	state   hash.Hash
	message []byte
	digest  []byte
}

// hashes is H(key, ·): BLAKE2b with a digest of 8 bytes. Hashings are used again, so that a hash allocates nothing.
type hashes struct{ idle sync.Pool }

func keyed(key string) *hashes {
	return &hashes{sync.Pool{New: func() any {
		state, err := blake2b.New(hashBytes, []byte(key))
		if err != nil {
			panic(err) // only for a key over 64 bytes
		}
		return &hashing{state: state}
	}}}
}

// sum is the hash of prefix and text, one after the other.
func (h *hashes) sum(prefix []byte, text string) uint64 {
	one := h.idle.Get().(*hashing)
	one.message = append(append(one.message[:0], prefix...), text...)
	one.state.Reset()
	one.state.Write(one.message)
	one.digest = one.state.Sum(one.digest[:0])
	value := binary.BigEndian.Uint64(one.digest)
	h.idle.Put(one)
	return value
}

// BotHash is the hash of a bot: its first bits are its shard, its first byte names its catalog object.
func BotHash(botID string) uint64 { return botHashes.sum(nil, botID) }

// CatalogObject is the key of the catalog object that holds a bot of this hash.
func CatalogObject(botHash uint64) string {
	return fmt.Sprintf("catalog/%02x.json", botHash>>(hashBits-8))
}

// Shard is the first bits of a hash as a number, 0 if bits is 0. It panics if bits is not 0 … [MaxShardBits].
func Shard(botHash uint64, bits int) uint32 {
	if bits < 0 || bits > MaxShardBits {
		panic("sharding: a shard is made of 0 to 20 bits, not " + strconv.Itoa(bits))
	}
	return uint32(botHash >> (hashBits - bits)) // a shift by 64 gives 0 in Go
}

// FamilyKey is what bots of one family share. Backbone and Pin are empty where the bot has none.
type FamilyKey struct{ Group, Framework, Backbone, Pin string }

// ID is the family's id: the framework, a hyphen and 8 hex digits.
func (k FamilyKey) ID() string {
	text := strings.Join([]string{k.Group, k.Framework, k.Backbone, k.Pin}, "\n")
	return k.Framework + "-" + digits(familyHashes.sum(nil, text), 8)
}

// PoolName is the name of a family's pool of that ordinal. Only a planner needs it: names stand in the table.
func PoolName(group, familyID string, ordinal uint64) string {
	text := familyID + "\n" + strconv.FormatUint(ordinal, 10)
	return group + "-" + familyID + "-" + digits(poolHashes.sum(nil, text), 6)
}

// Order is pools in the rendezvous order of a shard, best first. Only a planner needs it: a table's shards are in order.
// It panics if there is no such shard.
func Order(shard uint32, bits int, pools []string) []string {
	if bits < 0 || bits > MaxShardBits || shard>>bits != 0 {
		panic(fmt.Sprintf("sharding: there is no shard %d with %d bits", shard, bits))
	}
	type weighed struct {
		name   string
		weight uint64
	}
	lowest := binary.BigEndian.AppendUint64(nil, uint64(shard)<<(hashBits-bits))
	all := make([]weighed, len(pools))
	for i, name := range pools {
		all[i] = weighed{name, orderHashes.sum(lowest, name)}
	}
	slices.SortFunc(all, func(a, b weighed) int {
		if a.weight != b.weight {
			if a.weight > b.weight {
				return -1
			}
			return 1
		}
		return strings.Compare(a.name, b.name)
	})
	names := make([]string, len(all))
	for i, pool := range all {
		names[i] = pool.name
	}
	return names
}

// digits are the first count hex digits of a hash.
func digits(value uint64, count int) string {
	return hex.EncodeToString(binary.BigEndian.AppendUint64(nil, value))[:count]
}

import assert from "node:assert/strict";
import { test } from "node:test";

import { botHash, catalogObject, decodeTable, familyId, order, poolName, shardOf } from "../src/index.js";
import type { FamilyKey } from "../src/index.js";
import { golden, read } from "./files.js";

const table = decodeTable(read("golden/table.json"));
const names = (pools: readonly { name: string }[]): string[] => pools.map((pool) => pool.name);

test("hashes, catalog objects and shards of bots", () => {
  const vectors = golden<{ id: string; hash: string; catalogObject: string; shards: Record<string, number> }>("bots.json");
  assert.ok(vectors.length > 0);
  for (const vector of vectors) {
    const hash = botHash(vector.id);
    assert.equal(hash, BigInt(`0x${vector.hash}`));
    assert.equal(catalogObject(hash), `catalog/${vector.catalogObject}.json`);
    for (const [bits, shard] of Object.entries(vector.shards)) assert.equal(shardOf(hash, Number(bits)), shard);
  }
});

test("ids of families", () => {
  for (const vector of golden<FamilyKey & { familyId: string }>("families.json")) {
    assert.equal(familyId(vector), vector.familyId);
    assert.equal(familyId({ ...vector, backbone: vector.backbone ?? null, pin: vector.pin ?? "" }), vector.familyId);
  }
});

test("names of pools", () => {
  type Vector = { group: string; familyId: string; ordinal: number; name: string };
  for (const vector of golden<Vector>("pools.json")) {
    assert.equal(poolName(vector.group, vector.familyId, vector.ordinal), vector.name);
  }
});

test("orders of pools", () => {
  for (const vector of golden<{ shard: number; bits: number; pools: string[]; order: string[] }>("orders.json")) {
    assert.deepEqual(order(vector.shard, vector.bits, vector.pools.toReversed()), vector.order);
  }
});

test("lookups in the table", () => {
  type Vector = FamilyKey & { id: string; shard: number | null; routed: string[]; answering: string[] };
  for (const vector of golden<Vector>("lookups.json")) {
    const hash = botHash(vector.id);
    const pools = table.lookup(vector, vector.id);
    assert.deepEqual(names(pools), vector.routed);
    assert.equal(table.lookupHash(vector, hash), pools);
    assert.deepEqual(names(table.answering(vector, hash)), vector.answering);
    assert.equal(table.shard(vector, hash) ?? null, vector.shard);
    for (const pool of pools) assert.equal(pool.url, `http://${pool.name}.bots.example:8080`);
  }
});

test("epoch and groups of the table", () => {
  assert.equal(table.epoch, 42n);
  assert.deepEqual(table.group("realtime"), { realtime: true, requestTimeoutS: 2.5, coldStartTimeoutS: 10 });
  assert.equal(table.group("other"), undefined);
});

test("a table cannot be changed", () => {
  const pools = table.lookup({ group: "realtime", framework: "torch" }, "acme-banking") as unknown as { name: string }[];
  assert.throws(() => pools.push({ name: "other" }), TypeError);
  assert.throws(() => ((pools[0] as { name: string }).name = "other"), TypeError);
  assert.throws(() => ((table as { epoch: bigint }).epoch = 1n), TypeError);
});

test("there are no shards but those that bits allow", () => {
  assert.throws(() => shardOf(0n, 21), RangeError);
  assert.throws(() => shardOf(0n, -1), RangeError);
  assert.throws(() => shardOf(0n, 0.5), RangeError);
  assert.throws(() => order(2, 1, []), RangeError);
  assert.throws(() => poolName("g", "f-00000000", -1), RangeError);
});

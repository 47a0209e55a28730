import { blake2b } from "@noble/hashes/blake2.js";

/** The most bits of a hash that make a shard. */
export const MAX_SHARD_BITS = 20;

const HASH_BITS = 64;
const HASH_BYTES = HASH_BITS / 8;

const text = new TextEncoder();

/** H(key, ·): BLAKE2b with a digest of 8 bytes. The keyed state is copied for each hash, which skips the key's block. */
function keyed(key: string): (...parts: Uint8Array[]) => Uint8Array {
  const start = blake2b.create({ dkLen: HASH_BYTES, key: text.encode(key) });
  return (...parts) => {
    const state = start.clone();
    for (const part of parts) state.update(part);
    return state.digest();
  };
}

const hashOfBot = keyed("botshard.bot.v1");
const hashOfFamily = keyed("botshard.family.v1");
const hashOfPool = keyed("botshard.pool.v1");
const hashInOrder = keyed("botshard.order.v1");

/** What bots of one family share. Absent is undefined, null or the empty text. */
export interface FamilyKey {
  readonly group: string;
  readonly framework: string;
  readonly backbone?: string | null | undefined;
  readonly pin?: string | null | undefined;
}

/** The message of a family's hash. No property can hold a line feed, so it also tells families apart. */
export function familyText(family: FamilyKey): string {
  return `${family.group}\n${family.framework}\n${family.backbone ?? ""}\n${family.pin ?? ""}`;
}

/** The hash of a bot, 64 bits: its first bits are its shard, its first byte names its catalog object. */
export function botHash(botId: string): bigint {
  return toBigInt(hashOfBot(text.encode(botId)));
}

/** The first 32 bits of a bot's hash as a number: more than any shard takes. */
export function firstBitsOfBot(botId: string): number {
  return firstWord(hashOfBot(text.encode(botId)));
}

/** The key of the catalog object that holds a bot of this hash. */
export function catalogObject(hash: bigint): string {
  return `catalog/${hex(hash).slice(0, 2)}.json`;
}

/**
 * The first bits of a hash as a number, 0 if `bits` is 0.
 *
 * @throws RangeError if `bits` is not 0 … {@link MAX_SHARD_BITS}
 */
export function shardOf(hash: bigint, bits: number): number {
  checkBits(bits);
  return shardOfFirstBits(Number(hash >> 32n), bits);
}

/** The shard by the first 32 bits of a hash. */
export function shardOfFirstBits(word: number, bits: number): number {
  return bits === 0 ? 0 : word >>> (32 - bits); // a shift by 32 does nothing here
}

/** A family's id: the framework, a hyphen and 8 hex digits. */
export function familyId(family: FamilyKey): string {
  return `${family.framework}-${digits(hashOfFamily(text.encode(familyText(family))), 8)}`;
}

/** The name of a family's pool of that ordinal. Only a planner needs it: names stand in the table. */
export function poolName(group: string, family: string, ordinal: number): string {
  if (!Number.isSafeInteger(ordinal) || ordinal < 0) throw new RangeError(`no ordinal: ${ordinal}`);
  return `${group}-${family}-${digits(hashOfPool(text.encode(`${family}\n${ordinal}`)), 6)}`;
}

/**
 * `pools` in the rendezvous order of a shard, best first. Only a planner needs it: a table's shards are in order.
 *
 * @throws RangeError if there is no such shard
 */
export function order(shard: number, bits: number, pools: readonly string[]): string[] {
  checkBits(bits);
  if (!Number.isInteger(shard) || shard < 0 || shard >= 2 ** bits) {
    throw new RangeError(`there is no shard ${shard} with ${bits} bits`);
  }
  const lowest = new Uint8Array(HASH_BYTES);
  new DataView(lowest.buffer).setUint32(0, shard * 2 ** (32 - bits));
  const weighed = pools.map((name) => ({ name, weight: toBigInt(hashInOrder(lowest, text.encode(name))) }));
  weighed.sort((a, b) => {
    if (a.weight !== b.weight) return a.weight > b.weight ? -1 : 1;
    return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
  });
  return weighed.map((pool) => pool.name);
}

/** 16 hex digits of a hash. */
export function hex(hash: bigint): string {
  return hash.toString(16).padStart(2 * HASH_BYTES, "0");
}

function checkBits(bits: number): void {
  if (!Number.isInteger(bits) || bits < 0 || bits > MAX_SHARD_BITS) {
    throw new RangeError(`a shard is made of 0 to ${MAX_SHARD_BITS} bits, not ${bits}`);
  }
}

function firstWord(digest: Uint8Array): number {
  return new DataView(digest.buffer, digest.byteOffset).getUint32(0);
}

function toBigInt(digest: Uint8Array): bigint {
  return new DataView(digest.buffer, digest.byteOffset).getBigUint64(0);
}

function digits(digest: Uint8Array, count: number): string {
  return hex(toBigInt(digest)).slice(0, count);
}

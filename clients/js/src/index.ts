/**
 * Computes where a bot lives: from the bytes of a routing table, a bot's id and four of its properties, the pools to
 * ask, best first. Nothing else is consulted: no clock, no random number, no service.
 *
 * An independent implementation of docs/placement.md of botshard, held to the same golden vectors. It looks up; it does
 * not plan.
 */
export { DocumentError } from "./document.js";
export { decodeTable } from "./decode.js";
export { MAX_SHARD_BITS, botHash, catalogObject, familyId, order, poolName, shardOf } from "./hash.js";
export type { FamilyKey } from "./hash.js";
export { Table } from "./table.js";
export type { Group, Pool } from "./table.js";

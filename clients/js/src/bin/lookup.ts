#!/usr/bin/env node
/**
 * Answers questions about placement: one JSON object a line on standard input, one on standard output.
 *
 *     lookup [TABLE]
 *
 * TABLE is a file with a routing table. Without it, or to change it, a line {"table": "<base64>"} puts one in force; a
 * table that is refused leaves the old one there. Questions and answers:
 *
 *     {"id": …, "group": …, "framework": …, "backbone": …, "pin": …}
 *         → {"hash": …, "familyId": …, "shard": …, "pools": [{"name": …, "url": …}, …], "answering": [name, …]}
 *     {"pool": {"group": …, "familyId": …, "ordinal": …}}       → {"name": …}
 *     {"order": {"shard": …, "bits": …, "pools": [name, …]}}    → {"order": [name, …]}
 */
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

import { DocumentError, decodeTable } from "../index.js";
import type { FamilyKey, Table } from "../index.js";
import { botHash, familyId, hex, order, poolName } from "../hash.js";

interface Question extends Partial<FamilyKey> {
  table?: string;
  pool?: { group: string; familyId: string; ordinal: number };
  order?: { shard: number; bits: number; pools: string[] };
  id?: string;
}

let table: Table | undefined;

function answer(line: string): object {
  const asked = JSON.parse(line) as Question;
  if (asked.table !== undefined) {
    table = decodeTable(Buffer.from(asked.table, "base64"));
    return { epoch: String(table.epoch) };
  }
  if (asked.pool !== undefined) return { name: poolName(asked.pool.group, asked.pool.familyId, asked.pool.ordinal) };
  if (asked.order !== undefined) return { order: order(asked.order.shard, asked.order.bits, asked.order.pools) };
  if (asked.id === undefined) throw new TypeError("a question has one of table, id, pool and order");
  const { group = "", framework = "", backbone, pin } = asked;
  const family = { group, framework, backbone, pin };
  const hash = botHash(asked.id);
  return {
    hash: hex(hash),
    familyId: familyId(family),
    shard: table?.shard(family, hash) ?? null,
    pools: table?.lookup(family, asked.id) ?? [],
    answering: table?.answering(family, hash).map((pool) => pool.name) ?? [],
  };
}

function answerOrError(line: string): object {
  try {
    return answer(line);
  } catch (error) {
    if (error instanceof DocumentError) return { refused: error.field, problem: error.message };
    return { error: String(error) };
  }
}

const file = process.argv[2];
try {
  if (file !== undefined) table = decodeTable(readFileSync(file));
} catch (error) {
  process.stderr.write(`lookup: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}
for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(answerOrError(line))}\n`);
}

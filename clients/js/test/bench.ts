// Lookups a second, on one core: node dist/test/bench.js
import { botHash, decodeTable } from "../src/index.js";
import { read } from "./files.js";

const table = decodeTable(read("golden/table.json"));
const family = { group: "realtime", framework: "torch" };
const ids = Array.from({ length: 1024 }, (_, number) => `bot-${number}`);
const hashes = ids.map(botHash);

function measure(what: string, rounds: number, lookup: (at: number) => readonly unknown[]): void {
  let found = 0;
  for (let round = 0; round < 2; round++) {
    const start = performance.now();
    for (let turn = 0; turn < rounds; turn++) found += lookup(turn % ids.length).length;
    const perS = (rounds / (performance.now() - start)) * 1000;
    if (round === 1) console.log(`${what}: ${Math.round(perS).toLocaleString("en")}/s`);
  }
  if (found !== 4 * rounds) throw new Error(`found ${found}`);
}

measure("lookup", 200_000, (at) => table.lookup(family, ids[at] ?? ""));
measure("lookupHash", 5_000_000, (at) => table.lookupHash(family, hashes[at] ?? 0n));

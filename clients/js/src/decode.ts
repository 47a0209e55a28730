import { DocumentError, Fields, refuse, whole } from "./document.js";
import type { Shape } from "./document.js";
import { MAX_SHARD_BITS, familyId, familyText } from "./hash.js";
import type { FamilyKey } from "./hash.js";
import { JsonNumber, parseJson } from "./json.js";
import type { Json } from "./json.js";
import { Table } from "./table.js";
import type { FamilyRoutes, Group, Pool } from "./table.js";

const FORMAT = "botshard.table/v1";
const MAX_EPOCH = 2n ** 63n - 1n;

const GROUP: Shape = {
  pattern: /^[a-z]([a-z0-9-]{0,22}[a-z0-9])?$/,
  expected: "1 to 24 lower case letters, digits or '-', a letter first, no '-' last",
};
const FRAMEWORK: Shape = {
  pattern: /^[a-z][a-z0-9]{0,11}$/,
  expected: "1 to 12 lower case letters or digits, a letter first",
};
const LABEL: Shape = {
  pattern: /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/,
  expected: "1 to 63 letters, digits, '.', '_' or '-', a letter or digit first",
};
const POOL: Shape = {
  pattern: /^[a-z]([a-z0-9-]{0,51}[a-z0-9])?$/,
  expected: "1 to 53 lower case letters, digits or '-', a letter first, no '-' last",
};
const URL: Shape = {
  pattern: /^https?:\/\/[!-.0-~]([!-~]*[!-.0-~])?$/,
  expected: "an http or https URL without a slash at its end",
};
const POLICY: Shape = {
  pattern: /^(first|least-outstanding|response-time|device-memory)$/,
  expected: "one of first, least-outstanding, response-time, device-memory",
};
const SHARD = /^(0|[1-9][0-9]{0,6})$/;

/**
 * Reads a routing table. A table in which anything is missing, unknown, out of range or twice is refused whole.
 *
 * @throws DocumentError with the field
 */
export function decodeTable(data: Uint8Array): Table {
  const top = new Fields("", parse(data));
  if (top.members.get("format") !== FORMAT) refuse("format", top.members.get("format"), FORMAT);
  top.only("format", "epoch", "groups", "families");
  const epoch = top.integer("epoch", 1n, MAX_EPOCH);
  const groups = readGroups(top.inner("groups"));
  return new Table(epoch, groups, new Families(epoch, groups).read(top));
}

function parse(data: Uint8Array): Json {
  try {
    return parseJson(data);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new DocumentError("", `${data.length} bytes (${why})`, "one JSON object in UTF-8, whole");
  }
}

function readGroups(all: Fields): Map<string, Group> {
  const groups = new Map<string, Group>();
  for (const name of all.members.keys()) {
    if (!GROUP.pattern.test(name)) refuse(all.at(name), name, GROUP.expected);
    const group = all.inner(name);
    group.only("realtime", "requestTimeoutS", "coldStartTimeoutS", "policy");
    const policy = group.optionalText("policy", POLICY);
    const read = {
      realtime: group.boolean("realtime"),
      requestTimeoutS: group.number("requestTimeoutS", 0.001),
      coldStartTimeoutS: group.number("coldStartTimeoutS", 0),
      ...(policy === undefined ? {} : { policy }),
    };
    groups.set(name, Object.freeze(read));
  }
  return groups;
}

/** The families of one table, with what must be told apart over the whole of it. */
class Families {
  readonly #ids = new Set<string>();
  readonly #poolOwners = new Map<string, string>();

  constructor(
    private readonly epoch: bigint,
    private readonly groups: ReadonlyMap<string, Group>,
  ) {}

  read(top: Fields): Map<string, FamilyRoutes> {
    const families = new Map<string, FamilyRoutes>();
    top.list("families").forEach((item, index) => {
      const entry = new Fields(`${top.at("families")}[${index}]`, item);
      entry.only("group", "framework", "backbone", "pin", "bits", "pools", "shards", "targets", "lingering");
      families.set(familyText(this.#readKey(entry)), this.#readRoutes(entry));
    });
    return families;
  }

  #readKey(entry: Fields): FamilyKey {
    const key = {
      group: entry.text("group", GROUP),
      framework: entry.text("framework", FRAMEWORK),
      backbone: entry.optionalText("backbone", LABEL),
      pin: entry.optionalText("pin", LABEL),
    };
    if (!this.groups.has(key.group)) refuse(entry.at("group"), key.group, "a group of this table");
    const id = familyId(key);
    if (this.#ids.has(id)) refuse(entry.path, id, "a family whose id is not in the table already");
    this.#ids.add(id);
    return key;
  }

  #readRoutes(entry: Fields): FamilyRoutes {
    const bits = Number(entry.integer("bits", 0n, BigInt(MAX_SHARD_BITS)));
    const rows = new Rows(this.#readPools(entry));
    const lists = entry.list("shards");
    if (lists.length !== 2 ** bits) {
      const found = new JsonNumber(String(lists.length));
      refuse(entry.at("shards"), found, `${2 ** bits} lists of indices, since bits is ${bits}`);
    }
    return {
      bits,
      shards: lists.map((list, shard) => rows.read(`${entry.at("shards")}[${shard}]`, list)),
      // 0: planned, and its pools do not answer yet.
      targets: readMoves(entry, "targets", bits, rows, "since", (move) => move.integer("since", 0n, this.epoch) > 0n),
      lingering: readMoves(entry, "lingering", bits, rows, "untilS", (move) => move.number("untilS", 0) >= 0),
    };
  }

  #readPools(entry: Fields): Pool[] {
    return entry.list("pools").map((item, index) => {
      const pool = new Fields(`${entry.at("pools")}[${index}]`, item);
      pool.only("name", "url");
      const name = pool.text("name", POOL);
      const owner = this.#poolOwners.get(name);
      if (owner !== undefined) refuse(pool.at("name"), name, `a pool that does not stand in ${owner} already`);
      this.#poolOwners.set(name, entry.path);
      return Object.freeze({ name, url: pool.text("url", URL) });
    });
  }
}

function readMoves(
  entry: Fields,
  name: "targets" | "lingering",
  bits: number,
  rows: Rows,
  when: string,
  answers: (move: Fields) => boolean,
): Map<number, readonly Pool[]> {
  const read = new Map<number, readonly Pool[]>();
  if (!entry.members.has(name)) return read;
  const moves = entry.inner(name);
  for (const text of moves.members.keys()) {
    if (!SHARD.test(text) || Number(text) >= 2 ** bits) {
      refuse(moves.at(text), text, `a shard from 0 to ${2 ** bits - 1}`);
    }
    const move = moves.inner(text);
    move.only("pools", when);
    const pools = rows.read(move.at("pools"), move.members.get("pools"));
    if (answers(move)) read.set(Number(text), pools);
  }
  return read;
}

/** Reads lists of indices of one family's pools. */
class Rows {
  readonly #known = new Map<string, readonly Pool[]>();

  constructor(private readonly pools: readonly Pool[]) {}

  read(path: string, value: Json | undefined): readonly Pool[] {
    const indices = Array.isArray(value) ? value.map((item) => Number(whole(item) ?? -1n)) : [];
    const pools = indices.map((index) => this.pools[index]).filter((pool) => pool !== undefined);
    if (!indices.length || pools.length !== indices.length || new Set(indices).size !== indices.length) {
      refuse(path, value, `a list of different indices of the ${this.pools.length} pools, at least one`);
    }
    const text = indices.join();
    const known = this.#known.get(text);
    if (known !== undefined) return known;
    this.#known.set(text, Object.freeze(pools));
    return pools;
  }
}

import { familyText, firstBitsOfBot, shardOfFirstBits } from "./hash.js";
import type { FamilyKey } from "./hash.js";

/** A pool as a router sees it. */
export interface Pool {
  readonly name: string;
  /** `http://` or `https://`, without a slash at the end. */
  readonly url: string;
}

/** What a router must know of a pool group. */
export interface Group {
  /** Ask the least loaded pool of a shard, not the first. */
  readonly realtime: boolean;
  /** Seconds a request may take. */
  readonly requestTimeoutS: number;
  /** Seconds more where its pool starts from zero. */
  readonly coldStartTimeoutS: number;
  /** By what a pool of a shard is chosen; absent: as `realtime` says. */
  readonly policy?: string;
}

/** One family's part of a table. Shards with equal pools share one list. */
export interface FamilyRoutes {
  readonly bits: number;
  readonly shards: readonly (readonly Pool[])[];
  readonly targets: ReadonlyMap<number, readonly Pool[]>;
  readonly lingering: ReadonlyMap<number, readonly Pool[]>;
}

const NO_POOLS: readonly Pool[] = Object.freeze([]);

/** A routing table: one placement as published. It never changes. `decodeTable` makes it. */
export class Table {
  /** Counts published tables, from 1. Of two tables the one with the smaller epoch is to be refused. */
  readonly epoch: bigint;
  readonly #groups: ReadonlyMap<string, Group>;
  readonly #families: ReadonlyMap<string, FamilyRoutes>;

  /** @internal */
  constructor(epoch: bigint, groups: ReadonlyMap<string, Group>, families: ReadonlyMap<string, FamilyRoutes>) {
    this.epoch = epoch;
    this.#groups = groups;
    this.#families = families;
    Object.freeze(this);
  }

  /** The pool group of that name. */
  group(name: string): Group | undefined {
    return this.#groups.get(name);
  }

  /** The pools to ask for a bot, best first; empty while its family has no pool. */
  lookup(family: FamilyKey, botId: string): readonly Pool[] {
    const routes = this.#families.get(familyText(family));
    if (routes === undefined) return NO_POOLS;
    return routes.shards[shardOfFirstBits(firstBitsOfBot(botId), routes.bits)] ?? NO_POOLS;
  }

  /** {@link lookup} for a bot whose `botHash` is at hand: far faster. */
  lookupHash(family: FamilyKey, hash: bigint): readonly Pool[] {
    const routes = this.#families.get(familyText(family));
    if (routes === undefined) return NO_POOLS;
    return routes.shards[shardOfFirstBits(Number(hash >> 32n), routes.bits)] ?? NO_POOLS;
  }

  /** The bot's shard in its family; undefined if the table does not have the family. */
  shard(family: FamilyKey, hash: bigint): number | undefined {
    const routes = this.#families.get(familyText(family));
    return routes && shardOfFirstBits(Number(hash >> 32n), routes.bits);
  }

  /**
   * Every pool that answers for a bot, each once: those of {@link lookupHash}, those that its shard is on its way to,
   * and those that it has just left. Any other pool refuses with 421, also one that a move is only planned to.
   */
  answering(family: FamilyKey, hash: bigint): readonly Pool[] {
    const routes = this.#families.get(familyText(family));
    if (routes === undefined) return NO_POOLS;
    const shard = shardOfFirstBits(Number(hash >> 32n), routes.bits);
    const sets = [routes.shards[shard], routes.targets.get(shard), routes.lingering.get(shard)];
    return Object.freeze([...new Set(sets.flatMap((pools) => pools ?? NO_POOLS))]);
  }
}

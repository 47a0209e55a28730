import { JsonNumber } from "./json.js";
import type { Json } from "./json.js";

const GREATEST_NUMBER = 1e300;
const SHOWN_CHARS = 80;
const MOST_DIGITS = 24; // longer whole numbers are out of range whatever they are

/** Says which field of a table is wrong. Such a table is refused whole. */
export class DocumentError extends Error {
  override readonly name = "DocumentError";

  /**
   * @param field such as `families[2].shards[7]`; empty for the document as a whole
   * @param found what stands there, cut
   * @param expected what may stand there
   */
  constructor(
    readonly field: string,
    readonly found: string,
    readonly expected: string,
  ) {
    super(`routing table: ${field || "document"}: found ${found}, expected ${expected}`);
  }
}

/** @throws DocumentError */
export function refuse(field: string, found: Json | undefined, expected: string): never {
  throw new DocumentError(field, shown(found), expected);
}

function shown(value: Json | undefined): string {
  if (value === undefined || value === null) return "nothing or null";
  if (typeof value === "string") return ascii(JSON.stringify(cut(value)));
  if (value instanceof JsonNumber) return cut(value.text);
  if (Array.isArray(value)) return `a list of ${value.length}`;
  return value instanceof Map ? "an object" : String(value);
}

function cut(text: string): string {
  return text.length > SHOWN_CHARS ? `${text.slice(0, SHOWN_CHARS)}…` : text;
}

function ascii(text: string): string {
  return text.replace(/[^ -~…]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** An alphabet with its description. */
export interface Shape {
  readonly pattern: RegExp;
  readonly expected: string;
}

/** A whole number that is written without point or exponent. */
export function whole(value: Json | undefined): bigint | undefined {
  if (!(value instanceof JsonNumber) || value.text.length > MOST_DIGITS || /[.eE]/.test(value.text)) return undefined;
  return BigInt(value.text);
}

/** Reads the members of one object; each method refuses a member that is not what it asks for. */
export class Fields {
  readonly members: ReadonlyMap<string, Json>;

  constructor(
    readonly path: string,
    value: Json | undefined,
  ) {
    this.members = value instanceof Map ? value : refuse(path, value, "an object");
  }

  at(key: string): string {
    const name = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]*$/u.test(key) ? cut(key) : ascii(JSON.stringify(cut(key)));
    return this.path ? `${this.path}.${name}` : name;
  }

  only(...known: string[]): void {
    for (const [key, value] of this.members) {
      if (!known.includes(key)) refuse(this.at(key), value, `one of the fields ${known.join(", ")}`);
    }
  }

  text(key: string, shape: Shape): string {
    const value = this.members.get(key);
    if (typeof value === "string" && shape.pattern.test(value)) return value;
    return refuse(this.at(key), value, shape.expected);
  }

  optionalText(key: string, shape: Shape): string | undefined {
    return (this.members.get(key) ?? null) === null ? undefined : this.text(key, shape);
  }

  boolean(key: string): boolean {
    const value = this.members.get(key);
    return typeof value === "boolean" ? value : refuse(this.at(key), value, "true or false");
  }

  integer(key: string, least: bigint, most: bigint): bigint {
    const value = whole(this.members.get(key));
    if (value !== undefined && value >= least && value <= most) return value;
    return refuse(this.at(key), this.members.get(key), `a whole number from ${least} to ${most}`);
  }

  number(key: string, least: number): number {
    const value = this.members.get(key);
    const read = value instanceof JsonNumber ? Number(value.text) : Number.NaN;
    if (read >= least && read <= GREATEST_NUMBER) return read;
    return refuse(this.at(key), value, `a number from ${least} to ${GREATEST_NUMBER}`);
  }

  list(key: string): readonly Json[] {
    const value = this.members.get(key);
    return Array.isArray(value) ? value : refuse(this.at(key), value, "a list");
  }

  inner(key: string): Fields {
    return new Fields(this.at(key), this.members.get(key));
  }
}

/** A number as it is written: a table's epoch does not fit a double, and 1.0 is no whole number. */
export class JsonNumber {
  constructor(readonly text: string) {}
}

export type Json = null | boolean | string | JsonNumber | Json[] | Map<string, Json>;

/** Far more than a table has; a document of brackets does not exhaust the stack. */
const MAX_DEPTH = 64;

const SPACE = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const PLAIN = /[^"\\\u0000-\u001f]*/y;
const ESCAPE = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;
const WORDS = new Map<string, Json>([["true", true], ["false", false], ["null", null]]);

/**
 * Strict JSON: UTF-8 without a byte order mark, nothing behind it, no key twice in an object. `JSON.parse` takes the
 * last of two equal keys and rounds long numbers.
 *
 * @throws SyntaxError or TypeError
 */
export function parseJson(data: Uint8Array): Json {
  const source = new Source(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data));
  const value = source.value(0);
  source.end();
  return value;
}

class Source {
  #at = 0;
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  value(depth: number): Json {
    if (depth > MAX_DEPTH) throw this.#error(`more than ${MAX_DEPTH} levels`);
    this.#take(SPACE);
    const first = this.#text[this.#at];
    if (first === "{") return this.#object(depth);
    if (first === "[") return this.#list(depth);
    if (first === '"') return this.#string();
    const number = this.#take(NUMBER);
    if (number) return new JsonNumber(number);
    for (const [word, value] of WORDS) {
      if (this.#text.startsWith(word, this.#at)) {
        this.#at += word.length;
        return value;
      }
    }
    throw this.#error("no value");
  }

  end(): void {
    this.#take(SPACE);
    if (this.#at < this.#text.length) throw this.#error("something behind the document");
  }

  #object(depth: number): Map<string, Json> {
    const members = new Map<string, Json>();
    for (const _ of this.#items("}")) {
      this.#take(SPACE);
      const key = this.#string();
      if (members.has(key)) throw this.#error(`the key ${JSON.stringify(key.slice(0, 80))} twice in one object`);
      if (!this.#skip(":")) throw this.#error("no colon");
      members.set(key, this.value(depth + 1));
    }
    return members;
  }

  #list(depth: number): Json[] {
    const items: Json[] = [];
    for (const _ of this.#items("]")) items.push(this.value(depth + 1));
    return items;
  }

  /** Stops before each item of an object or list that begins here, and takes the commas between and its end. */
  *#items(end: string): Generator<void> {
    this.#at += 1;
    if (this.#skip(end)) return;
    do yield;
    while (this.#skip(","));
    if (!this.#skip(end)) throw this.#error(`no comma and no ${end}`);
  }

  #string(): string {
    const start = this.#at;
    if (this.#text[start] !== '"') throw this.#error("no text");
    this.#at += 1;
    do this.#take(PLAIN);
    while (this.#take(ESCAPE));
    if (this.#text[this.#at] !== '"') throw this.#error("a text that does not end");
    this.#at += 1;
    return JSON.parse(this.#text.slice(start, this.#at)) as string;
  }

  #take(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0] ?? "";
    this.#at += found.length;
    return found;
  }

  #skip(character: string): boolean {
    this.#take(SPACE);
    if (this.#text[this.#at] !== character) return false;
    this.#at += 1;
    return true;
  }

  #error(what: string): SyntaxError {
    return new SyntaxError(`${what} at character ${this.#at}`);
  }
}

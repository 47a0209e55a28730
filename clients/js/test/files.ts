import { readFileSync } from "node:fs";

// From dist/test, where this file is run.
const TESTS = new URL("../../../../tests/", import.meta.url);

/** The bytes of a file of the repository's tests. */
export function read(path: string): Uint8Array {
  return readFileSync(new URL(path, TESTS));
}

/** The vectors of one golden file. */
export function golden<V>(file: string): V[] {
  return JSON.parse(new TextDecoder().decode(read(`golden/${file}`))) as V[];
}

/** A change to the table of `documents.json`. */
export interface Change {
  claim: string;
  replace: string;
  with: string;
  field: string;
}

export const documents = JSON.parse(new TextDecoder().decode(read("clients/documents.json"))) as {
  table: string;
  refused: Change[];
  accepted: Change[];
};

/** The bytes of the table after a change. */
export function changed(change: Change): Uint8Array {
  return new TextEncoder().encode(documents.table.replace(change.replace, () => change.with));
}

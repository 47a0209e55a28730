import assert from "node:assert/strict";
import { test } from "node:test";

import { DocumentError, decodeTable } from "../src/index.js";
import { changed, documents, read } from "./files.js";

function refuses(data: Uint8Array, field: string): void {
  assert.throws(
    () => decodeTable(data),
    (error) => {
      assert.ok(error instanceof DocumentError, String(error));
      assert.equal(error.field, field, error.message);
      assert.ok(error.message.length < 500 && !/[\n\r\0]/.test(error.message), "no message for one line of a log");
      return true;
    },
  );
}

for (const change of documents.refused) {
  test(`refused whole: ${change.claim}`, () => refuses(changed(change), change.field));
}

test("refused whole: what JSON in a file of JSON cannot hold, or only at length", () => {
  const broken = new TextEncoder().encode(documents.table);
  broken[broken.length / 2 | 0] = 0xff;
  refuses(broken, "");
  refuses(new TextEncoder().encode("[".repeat(200_000)), "");
  refuses(new TextEncoder().encode(`{"a":`.repeat(200_000)), "");
  refuses(new Uint8Array(), "");
});

test("refused whole: every truncation", () => {
  const data = read("golden/table.json");
  for (let length = 0; length < data.length; length++) refuses(data.subarray(0, length), "");
});

test("a broken byte is refused or read, and nothing else", () => {
  const data = read("golden/table.json");
  for (let at = 0; at < data.length; at++) {
    const broken = Uint8Array.from(data);
    broken[at] = (broken[at] ?? 0) ^ (1 << (at % 8));
    try {
      assert.ok(decodeTable(broken).epoch > 0n);
    } catch (error) {
      assert.ok(error instanceof DocumentError, String(error));
    }
  }
});

for (const change of documents.accepted) {
  test(`accepted: ${change.claim}`, () => assert.ok(decodeTable(changed(change)).epoch > 0n));
}

test("the greatest epoch is kept whole", () => {
  const data = new TextEncoder().encode(documents.table.replace('"epoch":7', '"epoch":9223372036854775807'));
  assert.equal(decodeTable(data).epoch, 2n ** 63n - 1n);
});

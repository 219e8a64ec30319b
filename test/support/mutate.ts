/** Numbers from 0 up to but without `below`, the same ones for the same seed. */
export type Random = (below: number) => number;

/** Mulberry32: small, and good enough to choose what is damaged. */
export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

const HEADER_BYTES = 100;
/** Bytes that mean something in SQLite's format: ends of ranges, page types, counts. */
const TELLING = [0x00, 0x01, 0x02, 0x05, 0x0a, 0x0d, 0x7f, 0x80, 0x81, 0xfe, 0xff];

/** Ways to damage a SQLite file of the given page size; each changes `file` or gives another. */
const MUTATIONS: ((file: Buffer, pageBytes: number, random: Random) => Buffer)[] = [
  function flipBits(file, _pageBytes, random) {
    for (let left = 1 + random(8); left > 0; left -= 1) {
      const at = random(file.length);
      file[at] = (file[at] ?? 0) ^ (1 << random(8));
    }
    return file;
  },
  function overwriteRun(file, _pageBytes, random) {
    const at = random(file.length);
    for (let left = 1 + random(64), to = at; left > 0 && to < file.length; left -= 1, to += 1) {
      file[to] = random(256);
    }
    return file;
  },
  function fillRun(file, _pageBytes, random) {
    const at = random(file.length);
    return file.fill(TELLING[random(TELLING.length)] ?? 0, at, Math.min(file.length, at + 1 + random(600)));
  },
  function swapPages(file, pageBytes, random) {
    const pages = Math.floor(file.length / pageBytes);
    const [a, b] = [random(pages) * pageBytes, random(pages) * pageBytes];
    const kept = Buffer.from(file.subarray(a, a + pageBytes));
    file.copy(file, a, b, b + pageBytes);
    kept.copy(file, b);
    return file;
  },
  function repeatPage(file, pageBytes, random) {
    const pages = Math.floor(file.length / pageBytes);
    const [from, to] = [random(pages) * pageBytes, random(pages) * pageBytes];
    file.copy(file, to, from, from + pageBytes);
    return file;
  },
  function editHeader(file, _pageBytes, random) {
    for (let left = 1 + random(3); left > 0; left -= 1) {
      file[16 + random(HEADER_BYTES - 16)] = TELLING[random(TELLING.length)] ?? 0;
    }
    return file;
  },
  // Where a page keeps its type, its free space, its cells' places and its right-most child.
  function editPageHeader(file, pageBytes, random) {
    const page = random(Math.floor(file.length / pageBytes));
    const at = page * pageBytes + (page === 0 ? HEADER_BYTES : 0) + random(32);
    file[at] = random(2) === 0 ? (TELLING[random(TELLING.length)] ?? 0) : random(256);
    return file;
  },
  // The names and SQL of the schema lie in the first pages.
  function editSchema(file, pageBytes, random) {
    const at = HEADER_BYTES + random(Math.min(file.length, 4 * pageBytes) - HEADER_BYTES);
    file[at] = 0x20 + random(0x5f);
    return file;
  },
  function cutShort(file, pageBytes, random) {
    const bytes = random(2) === 0 ? random(file.length) : random(file.length / pageBytes) * pageBytes;
    return file.subarray(0, Math.floor(bytes));
  },
  function append(file, pageBytes, random) {
    const more = Buffer.alloc(1 + random(3 * pageBytes));
    for (let at = 0; at < more.length; at += 1) more[at] = random(256);
    return Buffer.concat([file, more]);
  },
  function moveBytes(file, _pageBytes, random) {
    const from = random(file.length);
    const copied = Buffer.from(file.subarray(from, from + 1 + random(200)));
    copied.copy(file, random(file.length));
    return file;
  },
];

/** A damaged copy of a valid SQLite file; `how` tells what was done. */
export function mutate(valid: Buffer, random: Random): { file: Buffer; how: string } {
  const pageBytes = valid.readUInt16BE(16);
  let file: Buffer = Buffer.from(valid);
  const how: string[] = [];
  for (let left = random(4) === 0 ? 3 : 1; left > 0; left -= 1) {
    const mutation = MUTATIONS[random(MUTATIONS.length)];
    if (!mutation || file.length <= pageBytes) break;
    how.push(mutation.name);
    file = mutation(file, pageBytes, random);
  }
  return { file, how: how.join(' + ') };
}

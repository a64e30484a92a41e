// MessagePack as far as the protocol needs it, and the rows of a data message (docs/protocol.md, section 5).
//
// Whole numbers are exact: a Number where it is a safe integer, a BigInt beyond. So equal values are always of the same
// type, and a Number that is no safe integer is one that the server sent as a float.

/** What cannot be read: not MessagePack, or not what the protocol says. */
export class CodecError extends Error {}

const WIDTHS = new Set([0, 1, 2, 4, 8]);
const DEEPEST = 32;
const utf8 = new TextDecoder("utf-8", { fatal: true });
const toUtf8 = new TextEncoder();

/** Return a BigInt as what it is here: a Number if that is exact. */
export function whole(big) {
  const number = Number(big);
  return Number.isSafeInteger(number) ? number : big;
}

const isArray = (type) => (type & 0xf0) === 0x90 || type === 0xdc || type === 0xdd;

/** Say whether a message carries rows: an array. Control messages are maps. */
export function isData(bytes) {
  return isArray(bytes[0]);
}

/** Return the value that `bytes` hold. Maps have string keys and no prototype. Throws CodecError. */
export function decode(bytes) {
  const reader = new Reader();
  reader.open(bytes);
  const value = reader.value();
  reader.end();
  return value;
}

/** Reads one message from front to back; `open` takes the next one, so that a stream needs one Reader. */
class Reader {
  open(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.place = 0;
  }

  /** Step over `length` bytes and return where they begin. */
  take(length) {
    const start = this.place;
    if (start + length > this.bytes.length) throw new CodecError("the message ends too early");
    this.place = start + length;
    return start;
  }

  end() {
    if (this.place !== this.bytes.length) throw new CodecError("bytes after the message");
  }

  /** Return the type that comes next, and step over it. */
  type() {
    return this.bytes[this.take(1)];
  }

  /** Return an unsigned number of one, two or four bytes. */
  size(width) {
    const start = this.take(width);
    if (width === 1) return this.view.getUint8(start);
    return width === 2 ? this.view.getUint16(start) : this.view.getUint32(start);
  }

  /** Return the length of an array of a type. */
  array(type) {
    if (!isArray(type)) throw new CodecError("expected an array");
    return type < 0xa0 ? type & 0x0f : this.size(2 << (type - 0xdc));
  }

  /** Step over a bin of a type, and return its length. */
  bin(type) {
    if (!(type >= 0xc4 && type <= 0xc6)) throw new CodecError("expected a bin");
    const length = this.size(1 << (type - 0xc4));
    this.take(length);
    return length;
  }

  /** Return the value that comes next. */
  value(depth = 0) {
    if (depth > DEEPEST) throw new CodecError("too deep");
    const { view } = this;
    const type = this.type();
    if (type < 0x80) return type;
    if (type < 0x90) return this.map(type & 0x0f, depth + 1);
    if (isArray(type)) return this.list(this.array(type), depth + 1);
    if (type < 0xc0) return this.string(type & 0x1f);
    if (type >= 0xe0) return type - 0x100;
    if (type >= 0xde) return this.map(this.size(2 << (type - 0xde)), depth + 1);
    if (type >= 0xd9 && type <= 0xdb) return this.string(this.size(1 << (type - 0xd9)));
    if (type >= 0xcc && type <= 0xce) return this.size(1 << (type - 0xcc));
    switch (type) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xca: return view.getFloat32(this.take(4));
      case 0xcb: return view.getFloat64(this.take(8));
      case 0xcf: return whole(view.getBigUint64(this.take(8)));
      case 0xd0: return view.getInt8(this.take(1));
      case 0xd1: return view.getInt16(this.take(2));
      case 0xd2: return view.getInt32(this.take(4));
      case 0xd3: return whole(view.getBigInt64(this.take(8)));
      default: throw new CodecError(`unknown type ${type}`);
    }
  }

  list(length, depth) {
    const items = [];
    for (let i = 0; i < length; i++) items.push(this.value(depth));
    return items;
  }

  map(length, depth) {
    const entries = Object.create(null); // a symbol may be called __proto__
    for (let i = 0; i < length; i++) {
      const key = this.value(depth);
      if (typeof key !== "string" && typeof key !== "number") throw new CodecError("unexpected key");
      entries[key] = this.value(depth);
    }
    return entries;
  }

  string(length) {
    const start = this.take(length);
    try {
      return utf8.decode(this.bytes.subarray(start, this.place));
    } catch {
      throw new CodecError("not UTF-8");
    }
  }
}

/**
 * The rows of one data message: `n` rows from number `seq` on, of channel `channel`, in `width` columns.
 *
 * Nothing is unpacked before it is asked for: `read` takes the next message into the same object, `at` computes a value.
 */
export class Rows {
  #reader = new Reader();
  #bases = [];
  #starts = [];
  #sizes = []; // bytes of an offset; -1 in a column of floats

  /** Take in a message. Throws CodecError; the rows then are not to be used. */
  read(bytes) {
    const reader = this.#reader;
    reader.open(bytes);
    const length = reader.array(reader.type());
    if (length < 5 || length % 2 === 0) throw new CodecError("not a data message");
    this.channel = reader.value();
    this.seq = reader.value();
    this.n = reader.value();
    this.width = (length - 3) / 2;
    const isPossible = isNumber(this.channel, 0) && isNumber(this.seq, 0) && isNumber(this.n, 1);
    if (!isPossible) throw new CodecError("impossible rows");
    for (let column = 0; column < this.width; column++) this.#column(column);
    reader.end();
    return this;
  }

  #column(column) {
    const reader = this.#reader;
    const type = reader.bytes[reader.place];
    const isFloat = type === 0xca || type === 0xcb;
    const base = reader.value();
    if (!isFloat && !isInt64(base)) throw new CodecError("a base that is no whole number of 64 bits");
    const length = reader.bin(reader.type());
    const size = length / this.n;
    if (isFloat ? size !== 8 : !WIDTHS.has(size)) throw new CodecError("offsets of an unknown width");
    this.#bases[column] = base;
    this.#sizes[column] = isFloat ? -1 : size;
    this.#starts[column] = reader.place - length;
  }

  /** Return one value: a whole number at the column's scale (see the top), or a float. */
  at(column, row) {
    const base = this.#bases[column];
    const size = this.#sizes[column];
    if (size === 0) return base;
    const { view } = this.#reader;
    if (size < 0) return view.getFloat64(this.#starts[column] + row * 8, true);
    const start = this.#starts[column] + row * size;
    if (size === 8) return sum(base, view.getBigUint64(start, true));
    const offset =
      size === 1 ? view.getUint8(start) : size === 2 ? view.getUint16(start, true) : view.getUint32(start, true);
    // Doubles round a sum that isn't safe to one that isn't safe either, so this test is enough.
    const value = typeof base === "number" ? base + offset : NaN;
    return Number.isSafeInteger(value) ? value : sum(base, BigInt(offset));
  }
}

const isNumber = (value, least) => Number.isSafeInteger(value) && value >= least;
const isInt64 = (value) => Number.isSafeInteger(value) || (typeof value === "bigint" && value < 1n << 63n);
const sum = (base, offset) => whole(BigInt.asIntN(64, BigInt(base) + offset));

/** Return the bytes of a command: maps (objects or Maps), arrays, strings and safe integers. */
export function encode(value) {
  const out = [];
  write(out, value);
  return Uint8Array.from(out);
}

function write(out, value) {
  if (typeof value === "number") writeInteger(out, value);
  else if (typeof value === "string") {
    const bytes = toUtf8.encode(value);
    writeLength(out, bytes.length, 0xa0, 32, 0xdb);
    for (const byte of bytes) out.push(byte);
  } else if (Array.isArray(value)) {
    writeLength(out, value.length, 0x90, 16, 0xdd);
    for (const item of value) write(out, item);
  } else {
    const entries = value instanceof Map ? [...value] : Object.entries(value);
    writeLength(out, entries.length, 0x80, 16, 0xdf);
    for (const item of entries.flat()) write(out, item);
  }
}

function writeInteger(out, value) {
  if (!Number.isSafeInteger(value)) throw new CodecError(`not a whole number: ${value}`);
  if (value >= -0x20 && value < 0x80) out.push(value & 0xff);
  else writeBigEndian(out, 0xd3, BigInt.asUintN(64, BigInt(value)), 8);
}

/** Write the length of a string, an array or a map: in the byte of its short type, or in four bytes behind `type`. */
function writeLength(out, length, short, limit, type) {
  if (length < limit) out.push(short | length);
  else writeBigEndian(out, type, BigInt(length), 4);
}

function writeBigEndian(out, type, big, width) {
  out.push(type);
  for (let shift = 8 * (width - 1); shift >= 0; shift -= 8) out.push(Number((big >> BigInt(shift)) & 0xffn));
}

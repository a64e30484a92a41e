// How fresh and how complete the data on the page are. Counts what comes; no painting.

const AGES = 1024;
const SECONDS = 3; // over which rates are taken
const OFFSETS = 8;

/** Return a time of a control message, in UNIX nanoseconds, as milliseconds. */
function fromNanoseconds(time) {
  return typeof time === "bigint" ? Number(time / 1000n) / 1000 : time / 1e6;
}

export class Health {
  unreadable = 0; // messages, since the page opened
  lost = 0; // rows, since the page opened
  total = 0; // rows of this connection, as the server counts them
  /** Whether the server, when it last told, had sent as many rows as were received; null before it told. */
  isComplete = null;
  roundTripMs = NaN;
  rowsPerSecond = 0;
  bytesPerSecond = 0;
  ageMedian = NaN;
  age99 = NaN;

  #bytes = 0;
  #rows = 0;
  #past = []; // [performance.now(), rows, bytes] of the last seconds
  #offsets = []; // server's clock less the page's, with the round trip each was measured by
  #offset = 0;
  #ages = new Float64Array(AGES);
  #ageCount = 0;

  /** A new connection: its rows are counted from 0. */
  connected() {
    this.total = 0;
    this.isComplete = null;
    this.#offsets = [];
  }

  received(bytes) {
    this.#bytes += bytes;
  }

  /** Rows of a channel that is no longer wanted: they count all the same. */
  counted(count) {
    this.total += count;
  }

  rows({ counted, lost, timeMs }) {
    this.total += counted;
    this.lost += lost;
    if (Number.isNaN(timeMs)) return; // a bar: it has no age, and repeats trades
    this.#rows += counted;
    if (this.#offsets.length > 0) this.#ages[this.#ageCount++ % AGES] = this.now() - timeMs;
  }

  missed(rows) {
    this.lost += rows;
  }

  beat(heartbeat) {
    this.isComplete = Number(heartbeat.rows) === this.total;
  }

  pong(pong, sentAt) {
    this.beat(pong);
    const now = performance.now();
    this.roundTripMs = now - sentAt;
    const middle = performance.timeOrigin + (sentAt + now) / 2;
    this.#offsets.push({ roundTripMs: this.roundTripMs, offset: fromNanoseconds(pong.time) - middle });
    if (this.#offsets.length > OFFSETS) this.#offsets.shift();
    // The quickest exchange knows the clocks best.
    this.#offset = this.#offsets.reduce((a, b) => (b.roundTripMs < a.roundTripMs ? b : a)).offset;
  }

  /** The server's time, in UNIX milliseconds, as well as the page can tell. */
  now() {
    return performance.timeOrigin + performance.now() + this.#offset;
  }

  /** Take stock; to be called about once a second. */
  second() {
    this.#past.push([performance.now(), this.#rows, this.#bytes]);
    if (this.#past.length > SECONDS + 1) this.#past.shift();
    const [then, rows, bytes] = this.#past[0];
    const seconds = Math.max(0.001, (performance.now() - then) / 1000);
    this.rowsPerSecond = (this.#rows - rows) / seconds;
    this.bytesPerSecond = (this.#bytes - bytes) / seconds;
    if (this.#ageCount === 0) return; // nothing came: the last ages stand
    const ages = this.#ages.slice(0, Math.min(AGES, this.#ageCount)).sort();
    this.ageMedian = Math.max(0, ages[Math.floor(ages.length / 2)]);
    this.age99 = Math.max(0, ages[Math.floor(ages.length * 0.99)]);
    this.#ageCount = 0;
  }
}

// The conversation with the server: lets itself be let in, takes in what comes, resumes where it was cut off.

import { Rows, decode, isData } from "./codec.js";
import { Connection, UNAUTHENTICATED } from "./connection.js";
import { Following } from "./following.js";

const PING_MS = 1_000;
const WANTED = "This server asks for a token.";
const REFUSED = "The server refused this token.";
const OVER = "The token has expired, or is no longer valid.";

/**
 * Follows a market: `store` gets what comes, `health` counts it. `changed()` is called when the page may have to change.
 *
 * `welcome` is what the server said of itself, `status` what it last said of its feed, `error` what it last refused.
 * `lock` is { reason } while a token is wanted, a new one each time it is asked for, else null.
 */
export class Session {
  welcome = null;
  status = null;
  error = "";
  lock = null;

  #store;
  #health;
  #changed;
  #rows = new Rows();
  #pings = new Map(); // by id: when it was sent
  #lastId = 0;
  #token = null; // kept here alone

  constructor(url, store, health, changed) {
    this.#store = store;
    this.#health = health;
    this.#changed = changed;
    this.following = new Following(store, (command) => this.#command(command));
    this.connection = new Connection(url, {
      opened: () => health.connected(),
      closed: (code) => this.#interrupted(code),
      message: (bytes) => this.#message(bytes),
      changed,
    });
    setInterval(() => this.#ping(), PING_MS);
  }

  /** Say the token that was asked for. */
  unlock(token) {
    this.#token = token;
    if (this.welcome === null) this.connection.reopen();
    else this.#command({ op: "auth", token });
  }

  /** Send a command and return its id. */
  #command(command) {
    const id = ++this.#lastId;
    this.connection.send({ ...command, id });
    return id;
  }

  #ping() {
    if (this.welcome !== null) this.#pings.set(this.#command({ op: "ping" }), performance.now());
  }

  #interrupted(code) {
    const isUntold = this.lock === null || this.#token !== null; // no error said so before
    if (code === UNAUTHENTICATED && isUntold) this.#wantToken();
    this.welcome = null;
    this.following.end();
    this.#pings.clear();
    this.#changed();
  }

  #wantToken() {
    this.#token = null;
    this.lock = { reason: this.lock === null ? OVER : REFUSED };
  }

  #message(bytes) {
    this.#health.received(bytes.length);
    try {
      if (isData(bytes)) this.#data(bytes);
      else this.#control(decode(bytes));
    } catch (error) {
      // What was in it is missing now: a new connection resumes at the rows that were folded last.
      this.#health.unreadable++;
      this.connection.restart(error);
    }
    this.#changed();
  }

  #data(bytes) {
    const applied = this.#store.apply(this.#rows.read(bytes));
    if (applied === null) this.#health.counted(this.#rows.n);
    else this.#health.rows(applied);
  }

  #control(message) {
    switch (message.type) {
      case "welcome":
        return this.#welcomed(message);
      case "authenticated":
        this.lock = null;
        return this.#begin();
      case "subscribed":
        return this.#subscribed(message.channels, message.refused);
      case "channel":
        return this.#subscribed([message], []);
      case "status":
        this.status = message;
        this.#store.isReplay = message.clock !== null;
        return this.following.stated();
      case "pong":
        this.#health.pong(message, this.#pings.get(message.id));
        return this.#pings.delete(message.id);
      case "heartbeat":
        return this.#health.beat(message);
      case "gap":
        this.#store.skip(message.channel, message.seq);
        return this.#health.missed(message.missed);
      case "goodbye":
        return this.connection.comeBackAfter(message.reconnect_ms);
      case "error":
        return this.#failed(message);
    }
  }

  #welcomed(welcome) {
    this.welcome = welcome;
    this.status = null;
    this.error = "";
    this.connection.expectWithin(Math.max(5 * PING_MS, 1500 * welcome.heartbeat_s));
    this.#ping();
    if (!welcome.auth) this.lock = null;
    else if (this.#token !== null) return this.#command({ op: "auth", token: this.#token });
    else return (this.lock ??= { reason: WANTED });
    this.#begin();
  }

  #begin() {
    this.#store.isReplay = this.welcome.clock !== null;
    this.following.begin(this.welcome, !this.#store.begin(this.welcome.epoch));
  }

  #subscribed(channels, refused) {
    for (const descriptor of channels) this.#health.missed(this.#store.describe(descriptor));
    this.following.answered({ channels, refused });
  }

  #failed({ code, message }) {
    if (code === "unauthenticated") {
      this.#wantToken();
      return this.connection.leave(UNAUTHENTICATED); // the server is about to: another token is for another connection
    }
    this.error = message;
    if (code === "limit") setTimeout(() => this.following.again(), 1000); // what was refused is asked for again
  }
}

// The socket: opens it, notices when it is dead, comes back after a while. Knows nothing of what is said on it.

import { CodecError, encode } from "./codec.js";

const FIRST_RETRY_MS = 400;
const LONGEST_RETRY_MS = 15_000;
const LATER_MS = 30_000; // after 4029: too many commands or connections
const SETTLED_MS = 5_000; // a connection that held so long was a good one: the next retry is early again
const SUBPROTOCOL = "ticker.v1.msgpack";

/** The close code of who has no token, or no longer a good one. */
export const UNAUTHENTICATED = 4001;

/** Close codes after which coming back would change nothing (docs/protocol.md, section 9). */
const FINAL = new Map([
  [1009, "the server found a message of this page too long"],
  [4000, "the server did not understand this page"],
  [UNAUTHENTICATED, "the server asks for a token"],
]);

/** Return the address of the stream of the server that this page came from. */
export function streamUrl(location) {
  return `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}/stream`;
}

/**
 * A connection that comes back. `state` is "connecting", "open", "waiting" (until `retryAt`, by performance.now()) or
 * "closed" for good (`reason` says why). `on` has four functions: opened(), message(bytes), closed(code) and changed().
 */
export class Connection {
  state = "connecting";
  reason = "";
  retryAt = 0;

  #url;
  #on;
  #socket = null;
  #failures = 0;
  #openedAt = 0;
  #heardAt = 0;
  #silenceMs = Infinity;
  #advisedMs = null;
  #timer = 0;

  constructor(url, on) {
    this.#url = url;
    this.#on = on;
    setInterval(() => this.#checkSilence(), 1000);
    addEventListener("online", () => this.retry());
    document.addEventListener("visibilitychange", () => document.hidden || this.retry());
  }

  open() {
    clearTimeout(this.#timer);
    this.#become("connecting");
    this.#advisedMs = null;
    this.#silenceMs = LONGEST_RETRY_MS;
    this.#heardAt = performance.now();
    const socket = new WebSocket(this.#url, SUBPROTOCOL);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.#openedAt = performance.now();
      this.#become("open");
      this.#on.opened();
    };
    socket.onmessage = (event) => {
      this.#heardAt = performance.now();
      if (event.data instanceof ArrayBuffer) this.#on.message(new Uint8Array(event.data));
      else this.restart(new CodecError("a text message on a msgpack connection"));
    };
    socket.onclose = (event) => this.#lost(event.code);
    this.#socket = socket;
  }

  /** Send a command, a map. What is sent while there is no connection is lost: whoever `opened` tells says it anew. */
  send(command) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(encode(command));
  }

  /** Come back at once, if only waiting for it. */
  retry() {
    if (this.state === "waiting") this.open();
  }

  /** Come back whatever the state is: the person wants it. */
  reopen() {
    if (this.state === "waiting" || this.state === "closed") this.open();
  }

  /** Give this socket up, for what it brought, and come back. */
  restart(error) {
    console.warn("tickercast: connection given up:", error.message);
    this.leave(1006);
  }

  /** Give this socket up, as if it had been closed with a code. */
  leave(code) {
    this.#socket?.close();
    this.#lost(code);
  }

  /** Take the server's advice on when to come back. */
  comeBackAfter(ms) {
    this.#advisedMs = ms;
  }

  /** Take a silence of more than `ms` for a dead connection. */
  expectWithin(ms) {
    this.#silenceMs = ms;
  }

  #lost(code) {
    if (this.#socket === null) return;
    const socket = this.#socket;
    this.#socket = null;
    socket.onopen = socket.onmessage = socket.onclose = null;
    const wasOpen = this.state === "open";
    if (wasOpen && performance.now() - this.#openedAt > SETTLED_MS) this.#failures = 0;
    if (FINAL.has(code)) {
      this.reason = FINAL.get(code);
      this.#become("closed");
    } else {
      this.#wait(code);
    }
    if (wasOpen) this.#on.closed(code);
  }

  #wait(code) {
    const growing = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** this.#failures++);
    const jittered = growing * (0.5 + Math.random() / 2); // so that not all pages return at once
    const ms = Math.max(this.#advisedMs ?? jittered, code === 4029 ? LATER_MS : 0);
    this.retryAt = performance.now() + ms;
    this.#timer = setTimeout(() => this.open(), ms);
    this.#become("waiting");
  }

  #checkSilence() {
    if (this.#socket === null || performance.now() - this.#heardAt < this.#silenceMs) return;
    this.leave(1006);
  }

  #become(state) {
    this.state = state;
    this.#on.changed();
  }
}

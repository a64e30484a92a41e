// Which symbols are listed, and in what order.

import { COLUMNS } from "./columns.js";

const RESORT_MS = 1000; // rows that jump with every tick can't be read

function bySymbol(a, b) {
  return a.symbol < b.symbol ? -1 : 1;
}

/** The rows of the grid: the instruments of a store that match the query, sorted. */
export class Listing {
  rows = [];
  query = "";
  onlyWatched = false;
  column = COLUMNS[0];
  descending = false;

  #store;
  #membership = -1;
  #sortedAt = -Infinity;
  #isStale = true;

  constructor(store) {
    this.#store = store;
  }

  search(query) {
    this.query = query;
    this.#isStale = true;
  }

  show(onlyWatched) {
    this.onlyWatched = onlyWatched;
    this.#isStale = true;
  }

  /** Sort by a column: first as is most telling (names ascending, numbers descending), then the other way round. */
  sortBy(id) {
    const column = COLUMNS.find((each) => each.id === id);
    this.descending = column === this.column ? !this.descending : column.key !== null;
    this.column = column;
    this.#isStale = true;
  }

  /** Bring `rows` up to date. Return whether they may have changed. */
  update(now) {
    const membershipChanged = this.#membership !== this.#store.membership;
    const isDue = this.column.key !== null && now - this.#sortedAt >= RESORT_MS;
    if (!this.#isStale && !membershipChanged && !isDue) return false;
    this.#isStale = false;
    this.#membership = this.#store.membership;
    this.#sortedAt = now;
    this.rows = this.#sorted(this.#matching());
    return true;
  }

  #matching() {
    const terms = this.query.toUpperCase().split(/[\s,]+/).filter(Boolean);
    const all = [...this.#store.instruments.values()];
    return all.filter(
      ({ folded, isWatched }) =>
        (isWatched || !this.onlyWatched) && (terms.length === 0 || terms.some((term) => folded.includes(term))),
    );
  }

  #sorted(rows) {
    const { key } = this.column;
    const sign = this.descending ? -1 : 1;
    if (key === null) return rows.sort((a, b) => sign * bySymbol(a, b));
    const keys = new Map(rows.map((row) => [row, key(row)]));
    return rows.sort((a, b) => {
      const [x, y] = [keys.get(a), keys.get(b)];
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y) || bySymbol(a, b);
      return sign * (x - y) || bySymbol(a, b);
    });
  }
}

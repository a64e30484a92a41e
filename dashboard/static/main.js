// The composition root: joins what the page is made of, and has its one animation loop.

import { Bar } from "./bar.js";
import { streamUrl } from "./connection.js";
import { Controls } from "./controls.js";
import { Detail } from "./detail.js";
import { byId, write } from "./dom.js";
import { Grid } from "./grid.js";
import { Health } from "./health.js";
import { listen } from "./keyboard.js";
import { Listing } from "./listing.js";
import { Prompt } from "./prompt.js";
import { Session } from "./session.js";
import { readColors } from "./spark.js";
import { storage } from "./storage.js";
import { Store } from "./store.js";
import { Watchlist } from "./watchlist.js";

const health = new Health();
const store = new Store(() => health.now());
const listing = new Listing(store);
const watchlist = new Watchlist(storage);
const scroller = byId("scroller");

let frame = 0;
let healthAt = -Infinity;
let colors = readColors();
let knownMembership = -1;
let inView = [];

/** Ask for a painting at the screen's next frame. */
function changed() {
  frame ||= requestAnimationFrame(paint);
}

function paint(now) {
  frame = 0;
  if (store.membership !== knownMembership) applyWatchlist();
  if (listing.update(now)) grid.list(listing.rows);
  grid.paint({
    now,
    second: Math.floor(now / 1000),
    nowMs: health.now(),
    isReplay: store.isReplay,
    ratio: devicePixelRatio,
    colors,
  });
  detail.paint();
  bar.paintState();
  prompt.paint(session.lock);
  if (now - healthAt >= 990) {
    healthAt = now;
    bar.paintHealth();
  }
  byId("empty").hidden = listing.rows.length > 0;
  if (listing.rows.length === 0) write("empty", whyEmpty());
}

function whyEmpty() {
  if (store.instruments.size === 0) return session.connection.state === "open" ? "Waiting for the first prices…" : "";
  if (listing.query !== "") return `No symbol contains “${listing.query}”.`;
  return "Nothing on the watchlist that this feed has. Mark a symbol with ☆, or list all symbols.";
}

function applyWatchlist() {
  knownMembership = store.membership;
  for (const instrument of store.instruments.values()) {
    const isWatched = watchlist.symbols.has(instrument.symbol);
    if (isWatched === instrument.isWatched) continue;
    instrument.isWatched = isWatched;
    instrument.version++;
  }
  listing.show(watchlist.isShown);
  tellView();
  controls.paintLists(store.instruments.size, watchlist.symbols.size, watchlist.isShown);
  changed();
}

/** Tell what is to be followed closely. */
function tellView() {
  session.following.look([...new Set([...inView, ...watchlist.symbols])]);
}

function showList(onlyWatched) {
  watchlist.isShown = onlyWatched;
  keepAddress();
  applyWatchlist();
}

function watch(symbol) {
  watchlist.toggle(symbol);
  keepAddress();
  applyWatchlist();
}

function lookAt(symbol) {
  if (session.welcome !== null) detail.open(symbol, session.welcome.intervals);
}

function keepAddress() {
  history.replaceState(null, "", watchlist.hash || location.pathname + location.search);
}

const grid = new Grid(scroller, byId("grid"), {
  changed,
  watch,
  viewed: (symbols) => {
    inView = symbols;
    tellView();
  },
  built: (columns) => {
    controls.paintColumns(columns);
    grid.markSorted(listing.column, listing.descending);
    changed(); // its rows are new, and empty
  },
  select: (symbol, isMeant) => {
    grid.select(symbol);
    if (isMeant || detail.isOpen) lookAt(symbol);
  },
  sort: (id) => {
    listing.sortBy(id);
    session.following.sort(listing.column.needs ?? null);
    grid.markSorted(listing.column, listing.descending);
    changed();
  },
});
const session = new Session(streamUrl(location), store, health, changed);
const detail = new Detail(store, { focus: (symbol, interval) => session.following.focus(symbol, interval), changed });
const bar = new Bar(session, health, store);
const prompt = new Prompt((token) => session.unlock(token));
const controls = new Controls({
  search: (text) => {
    listing.search(text.trim());
    scroller.scrollTop = 0;
    changed();
  },
  show: showList,
  pick: (ids, byHand) => grid.pick(ids, byHand),
  rate: (intervalMs, everyRow) => session.following.rate(intervalMs, everyRow),
  themed: () => {
    colors = readColors();
    grid.redraw();
    detail.redraw(colors);
    changed();
  },
});

listen({
  search: () => controls.search.focus(),
  help: () => controls.help(),
  theme: () => controls.switchTheme(),
  list: () => showList(!watchlist.isShown),
  watch: () => grid.selected !== null && watch(grid.selected),
  open: () => grid.selected !== null && lookAt(grid.selected),
  leave: () => {
    if (detail.isOpen) return detail.close();
    controls.clearSearch();
    controls.search.blur();
    grid.select(null);
  },
  move: (rows) => grid.move(rows),
  page: (pages) => grid.move(pages * grid.rowsInView),
  edge: (isEnd) => grid.move(isEnd ? Infinity : -Infinity),
});

addEventListener("hashchange", () => {
  watchlist.open(location.hash);
  applyWatchlist();
});
byId("retry").addEventListener("click", () => (session.lock === null ? session.connection.reopen() : prompt.open()));
document.addEventListener("visibilitychange", changed);
setInterval(changed, 1000); // ages and clocks go on without data

watchlist.open(location.hash);
session.connection.open();
changed();

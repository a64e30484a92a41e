// Keys, for hands that stay on the keyboard. Those of the browser and of a field that is being written in are left alone.

/** `on` has search, leave, open, watch, list, theme and help, without arguments; move(rows), page(pages), edge(isEnd). */
export function listen(on) {
  const keys = {
    "/": () => on.search(),
    "?": () => on.help(),
    w: () => on.watch(),
    l: () => on.list(),
    t: () => on.theme(),
    Enter: () => on.open(),
    Escape: () => on.leave(),
    ArrowDown: () => on.move(1),
    ArrowUp: () => on.move(-1),
    PageDown: () => on.page(1),
    PageUp: () => on.page(-1),
    Home: () => on.edge(false),
    End: () => on.edge(true),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (document.querySelector("dialog[open]") !== null) return;
    const { target } = event;
    const isSearch = target.id === "search";
    if (isSearch && !["Escape", "ArrowDown"].includes(event.key)) return;
    if (!isSearch && target.matches("input, select, textarea")) return;
    if (event.key === "Enter" && target.matches("button, a, select")) return;
    const action = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (action === undefined) return;
    event.preventDefault();
    action();
  });
}

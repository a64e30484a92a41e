// The page's elements, in fewer words.

/** Return the element with an id. */
export function byId(id) {
  return document.getElementById(id);
}

/** Give an element a text, unless it has it. */
export function write(id, text) {
  const node = byId(id);
  if (node.textContent !== text) node.textContent = text;
}

/** Make an element. */
export function element(name, className = "", text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

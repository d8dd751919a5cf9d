/**
 * The keys of each command, the first of which the help shows. "mod" is Control, on a Mac Command. A command's name
 * is also the key of its text.
 * @type {Record<string, string[]>}
 */
export const SHORTCUTS = {
  open: ["mod o"],
  brush: ["b"],
  eraser: ["e"],
  hand: ["h"],
  smaller: ["["],
  larger: ["]"],
  undo: ["mod z"],
  redo: ["mod shift z", "mod y"],
  clear: ["delete", "backspace"],
  fill: ["enter"],
  cancel: ["escape"],
  compare: ["c"],
  download: ["mod s"],
  zoomIn: ["+", "="],
  zoomOut: ["-"],
  fit: ["0"],
  help: ["?"],
};

const COMMANDS = new Map(Object.entries(SHORTCUTS).flatMap(([name, keys]) => keys.map((key) => [key, name])));

/** The name of the command that a key stands for. @param {KeyboardEvent} event @returns {string | undefined} */
export function commandOf({ key, ctrlKey, metaKey, shiftKey, altKey }) {
  if (altKey) return undefined;
  const modified = ctrlKey || metaKey;
  return COMMANDS.get(`${modified ? "mod " : ""}${modified && shiftKey ? "shift " : ""}${key.toLowerCase()}`);
}

/** A shortcut as it is printed on the keys. @param {string} shortcut */
export function keysOf(shortcut) {
  const mod = /Mac|iP(hone|ad)/.test(navigator.userAgent) ? "⌘" : "Ctrl";
  return shortcut.split(" ").map((key) => (key === "mod" ? mod : key[0].toUpperCase() + key.slice(1)));
}

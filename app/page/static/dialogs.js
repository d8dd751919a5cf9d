import { SHORTCUTS, keysOf } from "./shortcuts.js";

/** @param {string} selector @returns {HTMLDialogElement} */
function dialog(selector) {
  return /** @type {HTMLDialogElement} */ (document.querySelector(selector));
}

/** List every shortcut. @param {import("./texts.js").Texts} texts */
export function showHelp(texts) {
  const rows = Object.entries(SHORTCUTS).map(([command, [shortcut]]) => {
    const row = document.createElement("div");
    const name = document.createElement("dt");
    name.textContent = texts.get(command);
    const keys = document.createElement("dd");
    for (const key of keysOf(shortcut)) {
      const cap = document.createElement("kbd");
      cap.textContent = key;
      keys.append(cap);
    }
    row.append(name, keys);
    return row;
  });
  const help = dialog("#help");
  help.querySelector("dl")?.replaceChildren(...rows);
  help.showModal();
}

/**
 * Ask for an API key; "" if the dialog is closed without one.
 * @param {import("./texts.js").Texts} texts @param {boolean} refused whether a key was tried before
 * @returns {Promise<string>}
 */
export function askForKey(texts, refused) {
  const box = dialog("#key");
  const input = /** @type {HTMLInputElement} */ (box.querySelector("input"));
  const reason = /** @type {HTMLElement} */ (box.querySelector("p"));
  reason.textContent = texts.get(refused ? "keyRefused" : "keyNeeded");
  input.value = "";
  box.returnValue = "";
  box.showModal();
  return new Promise((resolve) => {
    box.addEventListener("close", () => resolve(box.returnValue === "use" ? input.value.trim() : ""), { once: true });
  });
}
